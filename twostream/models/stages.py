"""The names of the stages of every backbone, in order; one may lack some of them."""

STAGES = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
