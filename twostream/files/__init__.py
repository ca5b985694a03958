"""Files: written whole or not at all, cleared up behind who was killed, and read out of folders of others."""
