"""Maps -> maps -> scores. Layers by family: `models.fusion`, `temporal`, `pooling`, `attention`, `backbone`."""

from twostream.models.network import MultiLevelNetwork, SingleStreamNetwork, TwoStreamNetwork

__all__ = ["MultiLevelNetwork", "SingleStreamNetwork", "TwoStreamNetwork"]
