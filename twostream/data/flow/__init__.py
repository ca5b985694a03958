"""Optical flow: computes displacement fields of frame pairs, stores them in 8 bits, and shows them as colours."""

from twostream.data.flow.colours import colour_wheel, flow_colours
from twostream.data.flow.levels import dequantise, quantise
from twostream.data.flow.motion_vectors import MotionVectors
from twostream.data.flow.opencv import DIS, TVL1, Farneback
from twostream.data.flow.optical_flow import OpticalFlow, pin_threads
from twostream.data.flow.raft import RAFT

__all__ = [
    "DIS",
    "RAFT",
    "TVL1",
    "Farneback",
    "MotionVectors",
    "OpticalFlow",
    "colour_wheel",
    "dequantise",
    "flow_colours",
    "pin_threads",
    "quantise",
]
