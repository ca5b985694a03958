"""`twostream prepare`: finds, downloads, unpacks, checks, indexes and copies data sets."""

from twostream.data.prepare.archives import ArchiveError
from twostream.data.prepare.copies import Workers
from twostream.data.prepare.download import DownloadError
from twostream.data.prepare.prepare import DATA_SETS, Wishes, prepare

__all__ = ["DATA_SETS", "ArchiveError", "DownloadError", "Wishes", "Workers", "prepare"]
