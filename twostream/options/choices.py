"""What commands let a user choose from, kept where no heavy package is loaded for it."""

STREAMS = ("rgb", "flow")
DATA_SETS = ("ucf101", "hmdb51", "folder")  # of `twostream prepare`
DECODERS = ("auto", "pyav", "decord", "torchcodec")
ENCODINGS = ("jpeg", "png", "small")  # of a flow store
QUALITY = 90  # of its JPEG; an error of 0.06 grey levels on average over real clips
NAMINGS = ("denseflow", "tsn")  # of flow that another tool wrote
FORMATS = {  # of an exported network: name of the file
    "onnx": "model.onnx",
    "torch-export": "model.pt2",
    "safetensors": "model.safetensors",
}
READABLE = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8", "fused", "head")  # layers, for features
PADDINGS = ("none", "centre")  # of the first and last windows of a video
AXES = ("TD", "DT")  # of an array of features: time, dimension
FEATURE_FORMATS = ("npy", "h5")
