"""nfactor: actors on trio, and network functions whose flows survive migration and crashes."""
