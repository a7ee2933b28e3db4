"""Architectures of transformers, in small configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness import Architecture
from libraries import transformers
from torch import nn

TITLE = "transformers"

ENCODER = {
    "vocab_size": 96,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
DECODER = {**ENCODER, "num_key_value_heads": 1}
GPT = {"vocab_size": 96, "n_positions": 40, "n_embd": 32, "n_layer": 3, "n_head": 2}
T5 = {"vocab_size": 96, "d_model": 32, "d_kv": 12, "d_ff": 48, "num_layers": 2, "num_heads": 2}
SPEECH = {
    "vocab_size": 96,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
}
TRANSLATOR = {**SPEECH, "max_position_embeddings": 40}
WHISPER = {
    **SPEECH,
    "num_mel_bins": 16,
    "max_source_positions": 40,
    "max_target_positions": 24,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
CLIP_TEXT = {**ENCODER, "num_hidden_layers": 3, "max_position_embeddings": 24}
CLIP_VISION = {
    "hidden_size": 40,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
}
CLIP = {"text_config": CLIP_TEXT, "vision_config": CLIP_VISION}
VIT = {**CLIP_VISION, "hidden_size": 32}
SWIN = {
    "image_size": 32,
    "patch_size": 4,
    "embed_dim": 24,
    "depths": [1, 1],
    "num_heads": [2, 4],
    "window_size": 4,
}
PYRAMID = {"hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1]}
RESNET = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [2, 1], "num_labels": 10}
WAV2VEC2 = {
    "vocab_size": 32,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [32, 32],
    "conv_stride": [5, 2],
    "conv_kernel": [10, 3],
    "conv_bias": True,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
STATES = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 3}
DETR = {
    "use_timm_backbone": False,
    "backbone": None,
    "use_pretrained_backbone": False,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "num_queries": 10,
    "num_labels": 7,
}

FLOAT32 = "the library computes sinusoids in float32"
LOST = (
    "the library's N(0, 2 / sqrt(fan_in)) for the convolution under weight norm is lost: "
    "PyTorch's uniform default remains"
)


def model(
    title: str,
    policy: str,
    name: str,
    config: str,
    arguments: Mapping[str, Any],
    *,
    copies: int = 2,
    vars: Mapping[str, float | str] | None = None,
    remark: str = "",
    quick: bool = False,
    **more: Any,
) -> Architecture:
    def build() -> nn.Module:
        library = transformers()
        return getattr(library, name)(getattr(library, config)(**{**arguments, **more}))

    return Architecture(title, build, policy, vars, copies, remark=remark, quick=quick)


def detector(title: str, name: str, stages: list[str], remark: str = "") -> Architecture:
    def build() -> nn.Module:
        library = transformers()
        backbone = library.ResNetConfig(
            **{**RESNET, **PYRAMID}, layer_type="basic", out_features=stages
        )
        config = getattr(library, f"{name}Config")(backbone_config=backbone, **DETR)
        return getattr(library, f"{name}ForObjectDetection")(config)

    return Architecture(title, build, "detr", remark=remark)


def real_time_detector() -> nn.Module:
    library = transformers()
    backbone = library.RTDetrResNetConfig(
        **{**RESNET, **PYRAMID}, layer_type="basic", out_features=["stage2", "stage3", "stage4"]
    )
    config = library.RTDetrConfig(
        backbone_config=backbone,
        **{**DETR, "decoder_layers": 3},
        encoder_hidden_dim=32,
        encoder_in_channels=[24, 32, 40],
        decoder_in_channels=[32, 32, 32],
    )
    return library.RTDetrForObjectDetection(config)


def encoder(title: str, name: str, config: str, quick: bool = False, **more: Any) -> Architecture:
    return model(title, "bert", name, config, ENCODER, quick=quick, **more)


def decoder(title: str, policy: str, name: str, config: str = "", **more: Any) -> Architecture:
    return model(title, policy, f"{name}ForCausalLM", config or f"{name}Config", DECODER, **more)


def vision(title: str, name: str, config: str, *arguments: dict[str, Any], **more: Any) -> Any:
    merged = {key: value for given in arguments for key, value in given.items()}
    return model(title, "transformers-vision", name, config, merged, **more)


ENCODERS = [
    encoder("BERT", "BertForPreTraining", "BertConfig", quick=True),
    encoder("BERT, a classifier", "BertForSequenceClassification", "BertConfig"),
    encoder("RoBERTa", "RobertaForMaskedLM", "RobertaConfig"),
    encoder("XLM-RoBERTa", "XLMRobertaForSequenceClassification", "XLMRobertaConfig"),
    model(
        "DistilBERT",
        "bert",
        "DistilBertForMaskedLM",
        "DistilBertConfig",
        {"vocab_size": 96, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48},
        max_position_embeddings=40,
    ),
    encoder("ELECTRA, the generator", "ElectraForMaskedLM", "ElectraConfig", embedding_size=24),
    encoder(
        "ELECTRA, the discriminator", "ElectraForPreTraining", "ElectraConfig", embedding_size=24
    ),
    encoder("ALBERT", "AlbertForPreTraining", "AlbertConfig", embedding_size=24),
    encoder(
        "DeBERTa v2",
        "DebertaV2ForMaskedLM",
        "DebertaV2Config",
        relative_attention=True,
        position_buckets=8,
        pos_att_type=["p2c", "c2p"],
    ),
    encoder("MPNet", "MPNetForMaskedLM", "MPNetConfig"),
    encoder("data2vec, text", "Data2VecTextForMaskedLM", "Data2VecTextConfig"),
    encoder("FNet", "FNetForMaskedLM", "FNetConfig"),
    encoder("Longformer", "LongformerForMaskedLM", "LongformerConfig", attention_window=8),
    encoder("BigBird", "BigBirdForMaskedLM", "BigBirdConfig"),
    encoder(
        "MobileBERT",
        "MobileBertForMaskedLM",
        "MobileBertConfig",
        embedding_size=24,
        intra_bottleneck_size=16,
        true_hidden_size=16,
    ),
    encoder(
        "SqueezeBERT",
        "SqueezeBertForMaskedLM",
        "SqueezeBertConfig",
        embedding_size=32,
        **{f"{part}_groups": 2 for part in ("q", "k", "v", "intermediate", "output")},
    ),
    model(
        "XLNet",
        "xlnet",
        "XLNetLMHeadModel",
        "XLNetConfig",
        {"vocab_size": 96, "d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 48},
    ),
]

DECODERS = [
    model("GPT-2", "gpt2", "GPT2LMHeadModel", "GPT2Config", GPT, quick=True),
    model(
        "GPT",
        "gpt2",
        "OpenAIGPTLMHeadModel",
        "OpenAIGPTConfig",
        GPT,
        vars={"residual": "std"},
        remark="residual projections are not scaled: `residual = std`",
    ),
    model(
        "GPT-Neo",
        "transformers",
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        {"vocab_size": 96, "max_position_embeddings": 40, "hidden_size": 32, "num_layers": 2},
        num_heads=2,
        attention_types=[[["global", "local"], 1]],
    ),
    model(
        "GPT-J",
        "transformers",
        "GPTJForCausalLM",
        "GPTJConfig",
        GPT,
        rotary_dim=8,
        remark=FLOAT32,
    ),
    model("GPT-NeoX", "transformers", "GPTNeoXForCausalLM", "GPTNeoXConfig", ENCODER),
    decoder("Phi", "transformers", "Phi"),
    decoder("StableLM", "transformers", "StableLm"),
    decoder("OLMo", "transformers", "Olmo"),
    decoder("Cohere", "transformers", "Cohere"),
    decoder("StarCoder2", "transformers", "Starcoder2"),
    model(
        "Falcon",
        "transformers",
        "FalconForCausalLM",
        "FalconConfig",
        {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
        bias=True,
    ),
    model(
        "BLOOM",
        "transformers",
        "BloomForCausalLM",
        "BloomConfig",
        {"vocab_size": 96, "hidden_size": 32, "n_layer": 2, "n_head": 2},
    ),
    model(
        "MPT",
        "transformers",
        "MptForCausalLM",
        "MptConfig",
        {"vocab_size": 96, "d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 40},
    ),
    model(
        "OPT",
        "transformers",
        "OPTForCausalLM",
        "OPTConfig",
        ENCODER,
        ffn_dim=48,
        word_embed_proj_dim=24,
    ),
    decoder("Llama", "llama", "Llama", quick=True),
    decoder("Mistral", "llama", "Mistral"),
    decoder("Qwen2", "llama", "Qwen2"),
    decoder("Qwen3", "llama", "Qwen3", head_dim=16),
    decoder("Phi-3", "llama", "Phi3", pad_token_id=0),
    decoder("OLMo 2", "llama", "Olmo2"),
    decoder("Granite", "llama", "Granite"),
    decoder("Gemma", "llama", "Gemma", head_dim=16, remark="norms of 1 + weight begin at 0"),
    decoder("Gemma 2", "llama", "Gemma2", head_dim=16, remark="norms of 1 + weight begin at 0"),
    decoder(
        "Gemma 3",
        "llama",
        "Gemma3",
        "Gemma3TextConfig",
        head_dim=16,
        remark="norms of 1 + weight begin at 0",
    ),
    decoder("Mixtral", "mixtral", "Mixtral", num_local_experts=4, quick=True),
    decoder(
        "Qwen2-MoE",
        "mixtral",
        "Qwen2Moe",
        num_experts=4,
        moe_intermediate_size=24,
        shared_expert_intermediate_size=24,
    ),
    decoder("OLMoE", "mixtral", "Olmoe", num_experts=4),
    decoder("gpt-oss", "gpt-oss", "GptOss", num_local_experts=4, head_dim=16, copies=16),
    decoder(
        "DeepSeek-V3",
        "mixtral",
        "DeepseekV3",
        num_key_value_heads=2,
        n_routed_experts=4,
        n_group=2,
        topk_group=1,
        num_experts_per_tok=2,
        moe_intermediate_size=24,
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=16,
        first_k_dense_replace=1,
    ),
    model(
        "RecurrentGemma",
        "recurrent-gemma",
        "RecurrentGemmaForCausalLM",
        "RecurrentGemmaConfig",
        {**STATES, "num_attention_heads": 2, "intermediate_size": 48, "lru_width": 32},
        block_types=["recurrent", "recurrent", "attention"],
    ),
    model("Mamba", "mamba", "MambaForCausalLM", "MambaConfig", STATES, state_size=8),
    model(
        "Mamba, with rescaled residuals",
        "mamba",
        "MambaForCausalLM",
        "MambaConfig",
        STATES,
        state_size=8,
        rescale_prenorm_residual=True,
        vars={"residual_scale": "1 / sqrt(n_layer)"},
    ),
    model(
        "Mamba-2",
        "mamba",
        "Mamba2ForCausalLM",
        "Mamba2Config",
        STATES,
        copies=6,
        state_size=8,
        num_heads=4,
        head_dim=16,
        n_groups=2,
    ),
    model(
        "Falcon Mamba",
        "mamba",
        "FalconMambaForCausalLM",
        "FalconMambaConfig",
        STATES,
        state_size=8,
    ),
    model(
        "RWKV",
        "rwkv",
        "RwkvForCausalLM",
        "RwkvConfig",
        STATES,
        context_length=32,
        remark="time_first begins at 1: the library takes `ones_like` of log(0.3) and its zigzag",
    ),
]

TRANSLATORS = [
    model("T5", "t5", "T5ForConditionalGeneration", "T5Config", T5, quick=True),
    model(
        "T5 1.1",
        "t5",
        "T5ForConditionalGeneration",
        "T5Config",
        T5,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    ),
    model("mT5", "t5", "MT5ForConditionalGeneration", "MT5Config", T5),
    model("UMT5", "t5", "UMT5ForConditionalGeneration", "UMT5Config", T5),
    model("LongT5", "t5", "LongT5ForConditionalGeneration", "LongT5Config", T5),
    model(
        "Switch Transformer",
        "t5",
        "SwitchTransformersForConditionalGeneration",
        "SwitchTransformersConfig",
        T5,
        num_experts=4,
        num_sparse_encoder_layers=1,
        num_sparse_decoder_layers=1,
    ),
    model("BART", "bart", "BartForConditionalGeneration", "BartConfig", TRANSLATOR),
    model("BART, a classifier", "bart", "BartForSequenceClassification", "BartConfig", TRANSLATOR),
    model("mBART", "bart", "MBartForConditionalGeneration", "MBartConfig", TRANSLATOR),
    model(
        "Blenderbot", "bart", "BlenderbotForConditionalGeneration", "BlenderbotConfig", TRANSLATOR
    ),
    model("Marian", "bart", "MarianMTModel", "MarianConfig", TRANSLATOR, pad_token_id=0),
    model("Pegasus", "bart", "PegasusForConditionalGeneration", "PegasusConfig", TRANSLATOR),
    model(
        "M2M-100",
        "bart",
        "M2M100ForConditionalGeneration",
        "M2M100Config",
        TRANSLATOR,
        remark=FLOAT32,
    ),
    model(
        "Speech2Text",
        "bart",
        "Speech2TextForConditionalGeneration",
        "Speech2TextConfig",
        SPEECH,
        input_feat_per_channel=16,
        conv_channels=32,
        max_source_positions=40,
        max_target_positions=24,
        remark=FLOAT32,
    ),
    model(
        "Whisper",
        "whisper",
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        WHISPER,
        quick=True,
        remark=f"{FLOAT32}: at its 1,500 positions they are off by up to 1e-4",
    ),
    model(
        "Whisper, a classifier",
        "whisper",
        "WhisperForAudioClassification",
        "WhisperConfig",
        WHISPER,
        use_weighted_layer_sum=True,
        remark=FLOAT32,
    ),
]

IMAGES = [
    model("CLIP", "clip", "CLIPModel", "CLIPConfig", CLIP, projection_dim=24, quick=True),
    model(
        "CLIP, text",
        "clip",
        "CLIPTextModelWithProjection",
        "CLIPTextConfig",
        CLIP_TEXT,
        projection_dim=24,
    ),
    model(
        "CLIP, vision",
        "clip",
        "CLIPVisionModelWithProjection",
        "CLIPVisionConfig",
        CLIP_VISION,
        projection_dim=24,
    ),
    model(
        "SigLIP",
        "siglip",
        "SiglipModel",
        "SiglipConfig",
        CLIP,
        remark="lecun_normal is 1.137 times as wide as it says, as its bounds cut nothing off",
    ),
    vision("ViT", "ViTForImageClassification", "ViTConfig", VIT, quick=True),
    vision("ViT, masked", "ViTForMaskedImageModeling", "ViTConfig", VIT, encoder_stride=4),
    vision(
        "DeiT",
        "DeiTForImageClassificationWithTeacher",
        "DeiTConfig",
        VIT,
        remark="tokens and positions begin at 0, written over the truncated normal",
    ),
    vision(
        "BEiT",
        "BeitForImageClassification",
        "BeitConfig",
        VIT,
        use_relative_position_bias=True,
        use_mask_token=True,
        use_absolute_position_embeddings=True,
    ),
    vision(
        "data2vec, vision",
        "Data2VecVisionForImageClassification",
        "Data2VecVisionConfig",
        VIT,
        use_relative_position_bias=True,
    ),
    vision("DINOv2", "Dinov2ForImageClassification", "Dinov2Config", VIT),
    vision(
        "YOLOS",
        "YolosForObjectDetection",
        "YolosConfig",
        VIT,
        {"image_size": [16, 16]},
        num_detection_tokens=5,
    ),
    vision(
        "DPT",
        "DPTForDepthEstimation",
        "DPTConfig",
        VIT,
        {"num_hidden_layers": 4},
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[16, 16, 32, 32],
        fusion_hidden_size=16,
    ),
    vision(
        "ViT-MAE",
        "ViTMAEForPreTraining",
        "ViTMAEConfig",
        VIT,
        decoder_hidden_size=24,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=32,
        remark="its sines and cosines, and Xavier for patches, are lost: frozen positions are 0",
    ),
    vision(
        "VideoMAE",
        "VideoMAEForVideoClassification",
        "VideoMAEConfig",
        VIT,
        num_frames=2,
        use_mean_pooling=True,
    ),
    vision(
        "TimeSformer", "TimesformerForVideoClassification", "TimesformerConfig", VIT, num_frames=2
    ),
    vision("AST", "ASTForAudioClassification", "ASTConfig", VIT, max_length=32, num_mel_bins=16),
    vision("Swin", "SwinForImageClassification", "SwinConfig", SWIN),
    vision("Swin V2", "Swinv2ForImageClassification", "Swinv2Config", SWIN),
    vision(
        "PVT",
        "PvtForImageClassification",
        "PvtConfig",
        PYRAMID,
        image_size=32,
        num_attention_heads=[1, 1, 2, 2],
    ),
    vision(
        "SegFormer",
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        PYRAMID,
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=32,
    ),
    vision("ConvNeXt", "ConvNextForImageClassification", "ConvNextConfig", PYRAMID),
    vision("ConvNeXt V2", "ConvNextV2ForImageClassification", "ConvNextV2Config", PYRAMID),
    vision("PoolFormer", "PoolFormerForImageClassification", "PoolFormerConfig", PYRAMID),
    vision(
        "LeViT",
        "LevitForImageClassification",
        "LevitConfig",
        {"image_size": 64, "hidden_sizes": [16, 24, 32], "depths": [1, 1, 1]},
        num_attention_heads=[2, 2, 2],
        key_dim=[8, 8, 8],
    ),
    vision(
        "MobileNetV2",
        "MobileNetV2ForImageClassification",
        "MobileNetV2Config",
        {"depth_multiplier": 0.35, "image_size": 32},
    ),
    vision(
        "EfficientNet",
        "EfficientNetForImageClassification",
        "EfficientNetConfig",
        {"width_coefficient": 0.3, "depth_coefficient": 0.3, "image_size": 32},
        hidden_dim=384,
        remark="weights of batch normalization are N(0, 0.02), and not 1",
    ),
    model(
        "ResNet",
        "resnet",
        "ResNetForImageClassification",
        "ResNetConfig",
        RESNET,
        layer_type="basic",
        copies=6,
    ),
    vision(
        "RegNet", "RegNetForImageClassification", "RegNetConfig", RESNET, copies=6, groups_width=8
    ),
    Architecture(
        "RT-DETR",
        real_time_detector,
        "rt-detr",
        remark="weights of batch normalization are N(0, 0.01) but in the backbone, and not 1",
    ),
    detector("DETR", "Detr", ["stage4"]),
    detector("Conditional DETR", "ConditionalDetr", ["stage4"]),
    detector(
        "Deformable DETR",
        "DeformableDetr",
        ["stage2", "stage3", "stage4"],
        "class biases begin at 0, not at the focal loss's -4.595, and last boxes at N(0, 0.02)",
    ),
]

SPEECHES = [
    model(
        "wav2vec 2.0, pretraining",
        "wav2vec2",
        "Wav2Vec2ForPreTraining",
        "Wav2Vec2Config",
        WAV2VEC2,
        codevector_dim=16,
        num_codevectors_per_group=20,
        proj_codevector_dim=24,
        remark=LOST,
    ),
    model("wav2vec 2.0", "wav2vec2", "Wav2Vec2ForCTC", "Wav2Vec2Config", WAV2VEC2, remark=LOST),
    model("WavLM", "wav2vec2", "WavLMForCTC", "WavLMConfig", WAV2VEC2, remark=LOST),
    model(
        "HuBERT",
        "hubert",
        "HubertForCTC",
        "HubertConfig",
        WAV2VEC2,
        remark="kaiming_normal for the convolution under weight norm is lost: "
        "PyTorch's uniform default remains",
    ),
    model(
        "data2vec, audio",
        "wav2vec2",
        "Data2VecAudioForCTC",
        "Data2VecAudioConfig",
        WAV2VEC2,
        num_conv_pos_embeddings=3,
    ),
]

ARCHITECTURES = [*ENCODERS, *DECODERS, *TRANSLATORS, *IMAGES, *SPEECHES]
