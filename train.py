"""Train and test one network, or with -m a sweep of them: `python train.py fusion=conv layer=conv5`."""

import sys

from twostream.cli.train import train

if __name__ == "__main__":
    train(sys.argv[1:])
