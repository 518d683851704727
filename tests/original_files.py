"""Models' tensors under the names of the original programs and of ComfyUI, made of diffusers' by tables of their own."""

import re

import torch

WAN = [
    (r"^condition_embedder\.time_embedder\.linear_(\d)", lambda m: f"time_embedding.{2 * int(m[1]) - 2}"),
    (r"^condition_embedder\.text_embedder\.linear_(\d)", lambda m: f"text_embedding.{2 * int(m[1]) - 2}"),
    (r"^condition_embedder\.time_proj", "time_projection.1"),
    (r"^condition_embedder\.image_embedder\.norm1", "img_emb.proj.0"),
    (r"^condition_embedder\.image_embedder\.ff\.net\.0\.proj", "img_emb.proj.1"),
    (r"^condition_embedder\.image_embedder\.ff\.net\.2", "img_emb.proj.3"),
    (r"^condition_embedder\.image_embedder\.norm2", "img_emb.proj.4"),
    (r"^condition_embedder\.image_embedder\.pos_embed", "img_emb.emb_pos"),
    (r"^proj_out", "head.head"),
    (r"^scale_shift_table", "head.modulation"),
    (r"\.scale_shift_table", ".modulation"),
    (r"\.norm2\.", ".norm3."),
    (r"\.attn1\.", ".self_attn."),
    (r"\.attn2\.", ".cross_attn."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.to_out\.0\.", ".o."),
    (r"\.add_([kv])_proj\.", r".\1_img."),
    (r"\.norm_added_k\.", ".norm_k_img."),
    (r"\.ffn\.net\.0\.proj\.", ".ffn.0."),
    (r"\.ffn\.net\.2\.", ".ffn.2."),
]


def renamed(key, table):
    for pattern, name in table:
        key = re.sub(pattern, name, key)
    return key


def wan_transformer(state):
    return {renamed(k, WAN): t.contiguous() for k, t in state.items() if "norm_added_q" not in k}


WAN_RESNET = [
    (r"\.norm1\.", ".residual.0."),
    (r"\.conv1\.", ".residual.2."),
    (r"\.norm2\.", ".residual.3."),
    (r"\.conv2\.", ".residual.6."),
    (r"\.conv_shortcut\.", ".shortcut."),
]
WAN_VAE = [
    (r"^quant_conv\.", "conv1."),
    (r"^post_quant_conv\.", "conv2."),
    (r"coder\.conv_in\.", "coder.conv1."),
    (r"coder\.norm_out\.", "coder.head.0."),
    (r"coder\.conv_out\.", "coder.head.2."),
    (r"\.mid_block\.resnets\.(\d)\.", lambda m: f".middle.{2 * int(m[1])}."),
    (r"\.mid_block\.attentions\.0\.", ".middle.1."),
]


def wan_vae(state, resnets=2):
    """`resnets`: residual blocks of an encoder's level."""
    last = resnets + 1  # place of what doubles the resolution, behind a level's residual blocks
    flat = [
        (r"\.up_blocks\.(\d)\.resnets\.(\d)\.", lambda m: f".upsamples.{int(m[1]) * (last + 1) + int(m[2])}."),
        (r"\.up_blocks\.(\d)\.upsamplers\.0\.", lambda m: f".upsamples.{int(m[1]) * (last + 1) + last}."),
        (r"\.down_blocks\.(\d+)\.", r".downsamples.\1."),
    ]
    nested = [
        (r"\.up_blocks\.(\d)\.resnets\.(\d)\.", r".upsamples.\1.upsamples.\2."),
        (r"\.up_blocks\.(\d)\.upsampler\.", rf".upsamples.\1.upsamples.{last}."),
        (r"\.down_blocks\.(\d)\.resnets\.(\d)\.", r".downsamples.\1.downsamples.\2."),
        (r"\.down_blocks\.(\d)\.downsampler\.", rf".downsamples.\1.downsamples.{resnets}."),
    ]
    residual = any(".upsampler." in key for key in state)
    table = [*(nested if residual else flat), *WAN_VAE]
    is_resnet = re.compile(r"resnets|down_blocks\.\d+\.(norm|conv)")  # 2.1's encoder has no "resnets"

    def name(key):
        return renamed(renamed(key, WAN_RESNET) if is_resnet.search(key) else key, table)

    return {name(k): t.contiguous() for k, t in state.items()}


HUNYUAN = [
    (r"^context_embedder\.token_refiner\.refiner_blocks\.", "txt_in.individual_token_refiner.blocks."),
    (r"^context_embedder\.time_text_embed\.timestep_embedder\.linear_(\d)", lambda m: f"txt_in.t_embedder.mlp.{2 * int(m[1]) - 2}"),
    (r"^context_embedder\.time_text_embed\.text_embedder\.", "txt_in.c_embedder."),
    (r"^context_embedder\.proj_in\.", "txt_in.input_embedder."),
    (r"^time_text_embed\.timestep_embedder\.linear_(\d)", lambda m: f"time_in.mlp.{2 * int(m[1]) - 2}"),
    (r"^time_text_embed\.guidance_embedder\.linear_(\d)", lambda m: f"guidance_in.mlp.{2 * int(m[1]) - 2}"),
    (r"^time_text_embed\.text_embedder\.linear_1", "vector_in.in_layer"),
    (r"^time_text_embed\.text_embedder\.linear_2", "vector_in.out_layer"),
    (r"^x_embedder\.", "img_in."),
    (r"^proj_out\.", "final_layer.linear."),
    (r"^norm_out\.linear\.", "final_layer.adaLN_modulation.1."),
    (r"(^txt_in.*\d)\.attn\.to_out\.0\.", r"\1.self_attn_proj."),
    (r"(^txt_in.*\d)\.attn\.to_q\.", r"\1.self_attn_qkv."),
    (r"(^txt_in.*\d)\.norm_out\.linear\.", r"\1.adaLN_modulation.1."),
    (r"(^txt_in.*\d)\.ff\.net\.0\.proj\.", r"\1.mlp.fc1."),
    (r"(^txt_in.*\d)\.ff\.net\.2\.", r"\1.mlp.fc2."),
    (r"^single_transformer_blocks\.(\d+)\.attn\.to_q\.", r"single_blocks.\1.linear1."),
    (r"^single_transformer_blocks\.(\d+)\.proj_out\.", r"single_blocks.\1.linear2."),
    (r"^single_transformer_blocks\.(\d+)\.norm\.linear\.", r"single_blocks.\1.modulation.linear."),
    (r"^single_transformer_blocks\.(\d+)\.attn\.norm_([qk])\.", r"single_blocks.\1.\2_norm."),
    (r"^transformer_blocks\.", "double_blocks."),
    (r"\.norm1\.linear\.", ".img_mod.linear."),
    (r"\.norm1_context\.linear\.", ".txt_mod.linear."),
    (r"\.attn\.to_q\.", ".img_attn_qkv."),
    (r"\.attn\.add_q_proj\.", ".txt_attn_qkv."),
    (r"\.attn\.norm_([qk])\.", r".img_attn_\1_norm."),
    (r"\.attn\.norm_added_([qk])\.", r".txt_attn_\1_norm."),
    (r"\.attn\.to_out\.0\.", ".img_attn_proj."),
    (r"\.attn\.to_add_out\.", ".txt_attn_proj."),
    (r"\.ff\.net\.0\.proj\.", ".img_mlp.fc1."),
    (r"\.ff\.net\.2\.", ".img_mlp.fc2."),
    (r"\.ff_context\.net\.0\.proj\.", ".txt_mlp.fc1."),
    (r"\.ff_context\.net\.2\.", ".txt_mlp.fc2."),
]  # fmt: skip
# What ComfyUI's modules are called.
COMFY_HUNYUAN = [
    (r"_mod\.linear\.", "_mod.lin."), (r"\.modulation\.linear\.", ".modulation.lin."),
    (r"_attn_qkv\.", "_attn.qkv."), (r"_attn_proj\.", "_attn.proj."),
    (r"_attn_q_norm\.weight", "_attn.norm.query_norm.scale"), (r"_attn_k_norm\.weight", "_attn.norm.key_norm.scale"),
    (r"\.q_norm\.weight", ".norm.query_norm.scale"), (r"\.k_norm\.weight", ".norm.key_norm.scale"),
    (r"mlp\.fc1\.", "mlp.0."), (r"mlp\.fc2\.", "mlp.2."),
    (r"^txt_in\.t_embedder\.mlp\.0\.", "txt_in.t_embedder.in_layer."),
    (r"^txt_in\.t_embedder\.mlp\.2\.", "txt_in.t_embedder.out_layer."),
    (r"c_embedder\.linear_1\.", "c_embedder.in_layer."), (r"c_embedder\.linear_2\.", "c_embedder.out_layer."),
    (r"_in\.mlp\.0\.", "_in.in_layer."), (r"_in\.mlp\.2\.", "_in.out_layer."),
]  # fmt: skip


def hunyuan_transformer(state, comfy=False):
    """Fuses what is one tensor there; of the last modulation, the halves change places."""
    original, joined = {}, r"\.(to_k|to_v|add_k_proj|add_v_proj)\.|^single_\S+proj_mlp\."
    for key, tensor in state.items():
        if re.search(joined, key):
            continue
        single = key.startswith("single_")
        if ".to_q." in key or ".add_q_proj." in key:
            others = [key.replace("_q", f"_{name}") for name in "kv"] + [key.replace("attn.to_q", "proj_mlp")] * single
            tensor = torch.cat([tensor, *(state[other] for other in others)])
        if key.startswith("norm_out.linear."):
            tensor = torch.cat(tensor.chunk(2)[::-1])
        name = renamed(key, HUNYUAN)
        original[renamed(name, COMFY_HUNYUAN) if comfy else name] = tensor.contiguous()
    return original


HUNYUAN_VAE = [
    (r"\.down_blocks\.(\d)\.", r".down.\1."), (r"\.up_blocks\.(\d)\.", lambda m: f".up.{3 - int(m[1])}."),
    (r"\.mid_block\.resnets\.(\d)\.", lambda m: f".mid.block_{int(m[1]) + 1}."), (r"\.resnets\.", ".block."),
    (r"\.(down|up)samplers\.0\.", r".\1sample."), (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.conv_norm_out\.", ".norm_out."), (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
    (r"attn_1\.group_norm\.", "attn_1.norm."), (r"attn_1\.to_([qkv])\.", r"attn_1.\1."),
    (r"attn_1\.to_out\.0\.", "attn_1.proj_out."),
]  # fmt: skip


def hunyuan_vae(state):
    """As ComfyUI's modules are called; the original's names are diffusers'."""

    def as_there(key, tensor):
        matrix = ".attentions." in key and tensor.ndim == 2
        return (tensor[..., None, None, None] if matrix else tensor).contiguous()

    return {renamed(k, HUNYUAN_VAE): as_there(k, t) for k, t in state.items()}


def prefixed(prefix, state):
    return {prefix + key: tensor for key, tensor in state.items()}
