"""Networks, and their layers by family: `models.backbone`, `fusion`, `temporal`, `pooling`, `attention`."""

from twostream.models.network import MultiLevelNetwork, SingleStreamNetwork, TwoStreamNetwork

__all__ = ["MultiLevelNetwork", "SingleStreamNetwork", "TwoStreamNetwork"]
