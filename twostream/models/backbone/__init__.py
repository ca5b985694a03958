"""Image classification networks as ordered, named stages: conv1 … conv5, fc6, fc7, fc8."""

from twostream.models.backbone.base import Backbone, FullyConnected
from twostream.models.backbone.googlenet import googlenet
from twostream.models.backbone.resnet import resnet18, resnet34, resnet50, resnet101
from twostream.models.backbone.squeezenet import squeezenet1_0
from twostream.models.backbone.timm import timm
from twostream.models.backbone.tiny import tiny
from twostream.models.backbone.vgg import vgg16, vgg16_bn
from twostream.models.backbone.vgg_m import vgg_m
from twostream.models.backbone.video import mc3_18, r2plus1d_18, r3d_18, s3d
from twostream.models.backbone.video_mvit import mvit_v2_s
from twostream.models.backbone.video_swin import swin3d_b, swin3d_s, swin3d_t
from twostream.models.backbone.weights import WeightsReport, load_weights

__all__ = [
    "Backbone",
    "FullyConnected",
    "WeightsReport",
    "googlenet",
    "load_weights",
    "mc3_18",
    "mvit_v2_s",
    "r2plus1d_18",
    "r3d_18",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "s3d",
    "squeezenet1_0",
    "swin3d_b",
    "swin3d_s",
    "swin3d_t",
    "timm",
    "tiny",
    "vgg16",
    "vgg16_bn",
    "vgg_m",
]
