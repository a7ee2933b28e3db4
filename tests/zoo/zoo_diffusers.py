"""Architectures of diffusers, in small configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness import Architecture
from libraries import diffusers
from torch import nn

TITLE = "diffusers"

BLOCKS = {"block_out_channels": (16, 32), "norm_num_groups": 8, "layers_per_block": 1}
CONDITIONED = {**BLOCKS, "cross_attention_dim": 24, "attention_head_dim": 8}
AUTOENCODER = {
    **BLOCKS,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "sample_size": 16,
}
TRANSFORMER = {"num_attention_heads": 2, "attention_head_dim": 16, "patch_size": 2}
CASCADE = {
    "block_out_channels": (32, 64),
    "num_attention_heads": (0, 2),
    "down_num_layers_per_block": (1, 1),
    "up_num_layers_per_block": (1, 1),
    "down_blocks_repeat_mappers": (1, 1),
    "up_blocks_repeat_mappers": (1, 1),
    "block_types_per_layer": (
        ("SDCascadeResBlock", "SDCascadeTimestepBlock"),
        ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),
    ),
    "conditioning_dim": 32,
    "timestep_ratio_embedding_dim": 16,
    "clip_text_in_channels": 24,
    "clip_text_pooled_in_channels": 24,
    "clip_image_in_channels": 16,
    "clip_seq": 2,
}


def model(
    title: str,
    name: str,
    arguments: Mapping[str, Any],
    *,
    copies: int = 2,
    unset: Mapping[str, str] | None = None,
    remark: str = "",
    quick: bool = False,
    **more: Any,
) -> Architecture:
    def build() -> nn.Module:
        return getattr(diffusers(), name)(**{**arguments, **more})

    return Architecture(
        title, build, "diffusers", None, copies, unset or {}, remark=remark, quick=quick
    )


ARCHITECTURES = [
    model(
        "UNet2DModel",
        "UNet2DModel",
        BLOCKS,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
    ),
    model(
        "UNet2DModel, NCSN++",
        "UNet2DModel",
        BLOCKS,
        block_out_channels=(32, 64),
        down_block_types=("SkipDownBlock2D", "AttnSkipDownBlock2D"),
        up_block_types=("AttnSkipUpBlock2D", "SkipUpBlock2D"),
        time_embedding_type="fourier",
        attention_head_dim=8,
    ),
    model(
        "UNet2DConditionModel",
        "UNet2DConditionModel",
        CONDITIONED,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ),
    model(
        "UNet2DConditionModel, SDXL",
        "UNet2DConditionModel",
        CONDITIONED,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=56,
        transformer_layers_per_block=1,
        use_linear_projection=True,
    ),
    model(
        "ControlNet",
        "ControlNetModel",
        CONDITIONED,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        conditioning_embedding_out_channels=(8, 16),
        remark="what joins it to the network begins at 0",
    ),
    model("AutoencoderKL", "AutoencoderKL", AUTOENCODER),
    model("VQModel", "VQModel", AUTOENCODER, num_vq_embeddings=24),
    model(
        "DiT",
        "DiTTransformer2DModel",
        TRANSFORMER,
        num_layers=2,
        sample_size=8,
        norm_num_groups=4,
        num_embeds_ada_norm=10,
        quick=True,
        remark="PyTorch's defaults: none of the paper's zeros in modulations and last layer",
    ),
    model(
        "PixArt",
        "PixArtTransformer2DModel",
        TRANSFORMER,
        num_layers=2,
        sample_size=8,
        cross_attention_dim=32,
        caption_channels=24,
        norm_num_groups=4,
    ),
    model(
        "Stable Diffusion 3",
        "SD3Transformer2DModel",
        TRANSFORMER,
        sample_size=8,
        num_layers=2,
        joint_attention_dim=24,
        caption_projection_dim=32,
        pooled_projection_dim=20,
        pos_embed_max_size=8,
    ),
    model(
        "Flux",
        "FluxTransformer2DModel",
        TRANSFORMER,
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        joint_attention_dim=24,
        pooled_projection_dim=20,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    ),
    model(
        "Stable Cascade",
        "StableCascadeUNet",
        CASCADE,
        remark="it defines an initialization, of Xavier and zeros, and never calls it: "
        "PyTorch's defaults remain",
    ),
    model(
        "UNet3DConditionModel",
        "UNet3DConditionModel",
        CONDITIONED,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        remark="last convolutions through time begin at 0",
    ),
    model(
        "MotionAdapter",
        "MotionAdapter",
        {},
        block_out_channels=(16, 32),
        motion_layers_per_block=1,
        motion_num_attention_heads=2,
        motion_norm_num_groups=8,
    ),
    model("T2IAdapter", "T2IAdapter", {}, channels=[16, 32], num_res_blocks=1, downscale_factor=4),
    model(
        "AutoencoderTiny",
        "AutoencoderTiny",
        {},
        encoder_block_out_channels=(16, 16),
        decoder_block_out_channels=(16, 16),
        num_encoder_blocks=(1, 2),
        num_decoder_blocks=(2, 1),
    ),
    model(
        "AutoencoderDC",
        "AutoencoderDC",
        {
            f"{side}_{what}": value
            for side in ("encoder", "decoder")
            for what, value in {
                "block_types": ("ResBlock", "EfficientViTBlock"),
                "block_out_channels": (16, 16),
                "qkv_multiscales": ((), (5,)),
                "layers_per_block": (1, 1),
            }.items()
        },
        latent_channels=4,
        attention_head_dim=8,
        downsample_block_type="conv",
        upsample_block_type="interpolate",
    ),
    model(
        "PriorTransformer",
        "PriorTransformer",
        {},
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        embedding_dim=24,
        num_embeddings=7,
        additional_embeddings=4,
    ),
    model(
        "AuraFlow",
        "AuraFlowTransformer2DModel",
        TRANSFORMER,
        sample_size=8,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        joint_attention_dim=24,
        caption_projection_dim=32,
        pos_embed_max_size=64,
    ),
    model(
        "Lumina-Next",
        "LuminaNextDiT2DModel",
        {},
        sample_size=8,
        hidden_size=32,
        num_layers=2,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        cross_attention_dim=24,
        unset={"pad_token": "left at torch.empty"},
        remark="pad_token is left at torch.empty; 0 here",
    ),
    model(
        "Sana",
        "SanaTransformer2DModel",
        {},
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=16,
        cross_attention_dim=32,
        caption_channels=24,
        sample_size=8,
    ),
    model(
        "LTX-Video",
        "LTXVideoTransformer3DModel",
        {},
        in_channels=8,
        num_attention_heads=2,
        attention_head_dim=16,
        cross_attention_dim=32,
        num_layers=2,
        caption_channels=24,
    ),
    model(
        "Wan",
        "WanTransformer3DModel",
        {},
        copies=3,
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=24,
        freq_dim=32,
        ffn_dim=48,
        num_layers=2,
    ),
]
