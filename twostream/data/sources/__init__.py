"""Data sets as lists of videos: the file, label and side of the split of each. No video is opened here."""

from twostream.data.sources.folder import Folder
from twostream.data.sources.hmdb51 import HMDB51
from twostream.data.sources.holdout import hold_out
from twostream.data.sources.source import Source, Video, fingerprint
from twostream.data.sources.ucf101 import UCF101
from twostream.data.sources.ucf_groups import UCF11, UCF50

__all__ = ["HMDB51", "UCF11", "UCF50", "UCF101", "Folder", "Source", "Video", "fingerprint", "hold_out"]
