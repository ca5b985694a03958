"""Numbers of the papers that several tests know."""

RESNET50 = 23_508_032 + (2048 + 1) * 101, 23_508_032 + 17 * 64 * 49 + (2048 + 1) * 101  # RGB, flow of 20 channels
OVER_TIME = 3 * sum(
    width**2 for width in (64, 128, 256, 512)
)  # a filter over three frames in each stage of a ResNet-50
# ViT-Tiny/16 without its classifier: patches, positions and the class token, 12 blocks, the last norm
VIT_TINY = 16 * 16 * 3 * 192 + 192 + 198 * 192 + 12 * 444_864 + 2 * 192
MOBILENET = 2_223_872 - 320 * 1280 - 2 * 1280 + 17 * 32 * 9  # up to 320 channels, of flow
HYBRID = VIT_TINY + MOBILENET + 321 * 192 + 192 * 192 * 16 + 192 + 193 * 101  # with projection, enlargement, classifier

PAPER_PARAMETERS = {  # PAPER 1.10, 101 classes; bilinear: both conv stacks and one linear classifier of 512² inputs
    "actionvlad": 2 * 14_714_688 + 17 * 64 * 9 + 2 * ((2 * 512 + 1) * 64 + (64 * 512 + 1) * 101),
    "hybrid_concat": HYBRID + 384 * 192,
    "hybrid_cross_attention": HYBRID + 2 * (4 * 192 * 128 + 192),
    "hybrid_gated": HYBRID + (2 * 192 + 1) * 192,
    "hybrid_late": VIT_TINY + MOBILENET + (193 + 321) * 101,
    "hybrid_weighted": HYBRID + 2,
    "i3d": 2 * (12_287_264 + 1025 * 101) - 64 * 7 * 49,
    "i3d_3d_fused": 2 * 5_599_904 + 17 * 64 * 49 + 27 * 2048 * 1024 + 1024 + 1025 * 101,
    "i3d_two_stream": 2 * (5_599_904 + 1025 * 101) + 17 * 64 * 49,
    "tsn_googlenet": 2 * (5_599_904 + 1025 * 101) + 7 * 64 * 49,
    "tsn_vgg16": 2 * 134_674_341 + 7 * 64 * 9,
    "paper": 97_761_221,
    "st_multiplier": sum(RESNET50) + 2 * OVER_TIME,
    "st_resnet": sum(RESNET50) + 2 * OVER_TIME * 16 // 3,  # two more frames of both 1×1 filters, 4 w² numbers each
    "st_spatial": RESNET50[0],
    "st_temporal": RESNET50[1],
    "t1_bilinear": 13_137_248 + (512 * 512 + 1) * 101,
    "t1_concat": 172_733_893,
    "t1_conv": 97_761_221,
    "t1_conv_fc8": 181_335_594 + (2 * 101 + 1) * 101,
    "t1_conv_gaussian": 97_761_221,
    "t1_late": 181_335_594,
    "t1_max": 97_236_421,
    "t1_sum": 97_236_421,
    "t1_sum_fc8": 181_335_594,
    "t2_conv2": 91_467_973,
    "t2_conv3": 93_041_605,
    "t2_conv3_conv5_fc6": 207_346_117,
    "t2_conv4": 95_401_413,
    "t2_conv5": 97_761_221,
    "t2_conv5_fc8": 181_860_394,
    "t3_vgg16_late": 269_358_474,
    "t3_vgg16_spatial": 134_674_341,
    "t3_vgg16_temporal": 134_684_133,
    "t3_vgg_m_late": 181_335_594,
    "t3_vgg_m_spatial": 90_627_813,
    "t3_vgg_m_temporal": 90_707_781,
    "t4_conv2d_pool2d": 225_382_122 + 524_800,
    "t4_conv2d_pool3d": 225_382_122 + 524_800,
    "t4_conv3d_pool3d": 239_538_410,
    "t5_vgg16_late": 269_358_474,
    "t5_vgg16_single_tower": 163_555_109,
    "t5_vgg16_two_towers": 283_514_762,
    "t5_vgg16_vgg_m": 239_538_410,
}
