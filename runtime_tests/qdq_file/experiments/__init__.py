"""Why codes differ: one suspicion a file, tested."""
