"""Each judge is shown to fail: for every ``raise Violation`` there is a test that brings it about."""

import ast
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

SHOWN = {
    # (a) conservation
    "and the wires carried": "test_packets_that_are_lost_or_made_on_any_way_are_seen_at_once",
    "which has got": "test_a_replica_that_has_got_more_than_was_given_is_seen_at_once",
    "was dropped as": "test_a_packet_that_is_dropped_by_no_function_is_lost",
    "are nowhere, the first is": "test_a_packet_that_is_nowhere_is_lost_if_nobody_died_and_no_port_lost_it",
    "are nowhere, and ports lost": "test_a_packet_that_no_port_has_lost_is_nowhere",
    "nobody has heard of": "test_a_packet_of_which_nobody_has_heard_did_not_die_where_nobody_died",
    "which got": "test_neighbours_whose_counts_differ_have_lost_a_packet",
    "flows moved": "test_a_flow_that_moved_as_the_coordinator_was_told_and_at_no_switch",
    "never came to any node": "test_a_packet_that_came_to_no_node_was_lost_by_a_port",
    "was last at": "test_who_has_begun_again_has_no_excuse_for_what_came_to_its_later_life",
    "whether they came out": "test_a_runtime_has_an_excuse_for_what_is_in_doubt_and_only_where_a_switch_died",
    # (b) order
    "processed packet": "test_one_owner_has_had_each_packet_of_a_state_in_the_order_of_their_marks",
    # (c) at most once
    "packet … … … times": "test_a_packet_that_comes_out_or_is_told_twice_is_twice_there",
    "came out and was dropped": "test_a_packet_that_comes_out_or_is_told_twice_is_twice_there",
    "the record of packet … was told": "test_a_packet_that_comes_out_or_is_told_twice_is_twice_there",
    "the end of the flow born with": "test_the_end_of_a_flow_is_told_once_but_for_what_a_second_death_takes_back",
    "and it goes on at": "test_a_flow_whose_end_was_told_does_not_go_on",
    # (d) one owner
    "flow … is at … and at": "test_a_flow_on_two_runtimes_has_two_owners",
    "elsewhere": "test_a_flow_that_its_switch_has_elsewhere_has_two_owners",
    "from view": "test_nobody_goes_back_to_an_earlier_view",
    # (e) output commit
    "nothing is left of that": "test_what_came_out_of_a_flow_as_it_began_is_no_more_where_it_began_anew_or_is_nowhere",
    "and the surviving": "test_what_came_out_is_in_the_state_that_survives",
    "which no runtime let out": "test_what_a_surviving_state_includes_has_been_let_out_by_a_runtime",
    "which never came out": "test_a_drop_that_a_surviving_state_includes_was_told_unless_two_died_that_could",
    # (f) transparency
    "not what any sequence": "test_a_state_that_no_packets_make_is_none_of_one_runtime_left_alone",
    "is not what its packets so far": "test_a_packet_and_its_record_say_what_became_of_the_flow_with_it",
    "ended the flow born with packet": "test_a_flow_that_ends_before_its_time_is_not_left_alone",
    "of the run is another under the compiled": "test_two_engines_have_seen_the_same_run_in_everything",
    "one engine by itself brings flow": "test_a_state_that_no_engine_by_itself_would_have_is_a_violation",
    "leaves one engine as another": "test_a_packet_that_comes_out_other_than_one_engine_makes_it_is_a_violation",
    # (g) loss bound
    "flow … had … packets when": "test_a_crash_sets_a_flow_back_by_no_more_packets_than_was_said",
    "packets that flow … had when": "test_packets_that_come_later_do_not_hide_what_was_lost",
    "had come out … ms before": "test_what_an_earlier_death_took_back_is_no_loss_of_a_later_one",
    # (h) protection
    "called flow": "test_a_protected_flow_that_has_begun_anew_elsewhere_does_not_live_on",
    "has no copy": "test_a_flow_of_which_there_is_no_copy_is_not_protected",
    "which is not as it is there": "test_a_copy_that_is_not_as_its_flow_protects_nothing",
    "copies besides": "test_a_copy_of_a_flow_that_nobody_has_is_one_too_many",
    # (i) liveness
    "lives and was declared dead": "test_who_has_been_heard_of_lately_is_not_dead",
    "is not ready within a second": "test_a_cluster_whose_nodes_do_not_hear_of_each_other_is_never_ready",
    "never ended": "test_a_migration_that_is_open_when_all_is_quiet_never_ends",
    "packets wait": "test_a_packet_that_waits_when_all_is_quiet_waits_for_ever",
    "are never protected again": "test_a_flow_whose_state_no_replica_has_when_all_is_quiet_never_will_be_protected",
    "still waits for flows": "test_a_flow_that_is_held_when_all_is_quiet_never_comes",
    "is not served": "test_a_flow_whose_probe_does_not_come_out_is_not_served",
    "did not move": "test_a_flow_that_set_out_and_did_not_move_was_refused_or_has_ended",
    "waits for ever for a commit": "test_a_commit_that_is_not_confirmed_when_all_is_quiet_never_is",
    "says that it will have": "test_a_runtime_that_takes_flows_for_gone_which_are_there_has_set_out_with_them_for_ever",
    "can neither move nor end": "test_a_flow_that_is_tied_to_something_can_neither_move_nor_end",
    # (k) ports
    "the answer … to port": "test_an_answer_that_comes_to_another_flow_is_seen",
    "is with": "test_a_number_with_two_flows_is_seen_at_once",
    "was with flows born": "test_a_port_that_comes_out_with_one_life_after_another_is_seen_in_the_end",
    "did not find flow": "test_an_answer_that_finds_nobody_is_seen_in_the_end",
    "is free, and somewhere else": "test_a_number_that_is_free_twice_or_lost_is_seen_in_the_end",
    "is lost, and was last with": "test_a_number_that_is_free_twice_or_lost_is_seen_in_the_end",
}
"""Words of the message of each judge, and a test in which it says them. What differs from time to time is … here."""


def messages() -> Iterator[str]:
    """Of every judge."""
    for path in sorted((REPOSITORY / "nfactor" / "testing").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Raise(exc=ast.Call(func=ast.Name(id="Violation"), args=[message])):
                    parts = message.values if isinstance(message, ast.JoinedStr) else [message]
                    yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)


def written_tests() -> Iterator[tuple[str, str]]:
    """Names and texts, from the first decorator on."""
    for path in sorted((REPOSITORY / "tests").rglob("test_*.py")):
        text = path.read_text("utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                begin = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                yield node.name, "\n".join(text.splitlines()[begin - 1 : node.end_lineno])


def test_every_judge_is_one_that_a_test_shows_to_fail() -> None:
    """Whoever adds a judge writes a test in which it complains, and says here which one."""
    every = list(messages())
    assert len(every) > 40
    assert {} == {
        message: found for message in every if len(found := [words for words in SHOWN if words in message]) != 1
    }
    assert [] == [words for words in SHOWN if not any(words in message for message in every)]


def test_the_tests_that_show_judges_to_fail_are_there_and_expect_what_they_say() -> None:
    texts = dict(written_tests())
    said = {words: texts.get(test, "") for words, test in SHOWN.items()}
    assert [] == [words for words, text in said.items() if not all(part.strip() in text for part in words.split("…"))]
