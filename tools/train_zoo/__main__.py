"""`python -m tools.train_zoo`."""

from tools.train_zoo.train import main

main()
