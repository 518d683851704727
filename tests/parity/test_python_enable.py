"""Whole tiny pipelines with eav.enable, against the method written as a plain attention processor."""

import re

import diffusers
import enhance_a_video as eav
import pytest
import torch
from python_pipelines import FAMILIES, STEPS, PlainProcessor

WEIGHT = 2.0
every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
every_guidance = pytest.mark.parametrize("guidance", [1.0, 4.0], ids=["alone", "guided"])


def relative(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


def plainly(family, guidance, **more):
    pipe = family.build()
    family.enhance_plainly(pipe, WEIGHT, guidance)
    return family.run(pipe, guidance=guidance, **more)


@every_family
@every_guidance
def test_equals_the_plain_formula(family, guidance):
    pipe = family.build()
    without = family.run(pipe, guidance=guidance)
    with eav.enable(pipe, weight=WEIGHT):
        enhanced = family.run(pipe, guidance=guidance)
    assert relative(enhanced, plainly(family, guidance)) < 1e-4
    assert relative(enhanced, without) > 1e-3
    assert torch.equal(family.run(pipe, guidance=guidance), without)


@every_family
@every_guidance
def test_videos_of_a_batch_do_not_share(family, guidance):
    pipe = family.build()
    with eav.enable(pipe, weight=WEIGHT):
        together = family.run(pipe, videos=(0, 1), guidance=guidance)
        alone = [family.run(pipe, videos=(seed,), guidance=guidance) for seed in (0, 1)]
    assert relative(together, torch.cat(alone)) < 1e-4
    assert relative(together, plainly(family, guidance, videos=(0, 1))) < 1e-4


@every_family
def test_a_gain_of_one_changes_nothing(family):
    pipe = family.build()
    without = family.run(pipe, guidance=4.0)
    with eav.enable(pipe, weight=-float(family.frames)) as handle:
        assert relative(family.run(pipe, guidance=4.0), without) < 1e-6
    assert {entry.gain for entry in handle.trace()} == {1.0}


@every_family
def test_trace(family):
    pipe = family.build()
    with eav.enable(pipe, weight=WEIGHT) as handle:
        for _ in range(2):  # the second run's trace takes the place of the first's
            family.run(pipe, videos=(0, 1), guidance=4.0)
    layers = len(family.attentions(pipe.transformer))
    entries = handle.trace()
    places = {(e.step, e.layer, e.branch, e.video) for e in entries}
    assert len(entries) == len(places) == STEPS * layers * 2 * 2
    assert {e.step for e in entries} == set(range(STEPS)) and {e.branch for e in entries} == {"cond", "uncond"}
    assert not any(e.reused for e in entries)
    for e in entries:
        assert 0 < e.cfi < 1 / family.frames * 1.5 and e.gain >= 1
        # The pair of a video shares the mean of its rows; branches evaluated one by one have their own.
        shared = [o.cfi for o in entries if (o.step, o.layer, o.video) == (e.step, e.layer, e.video)]
        cfi = sum(shared) / len(shared) if family.pairs else e.cfi
        assert e.gain == pytest.approx(max(1, cfi * (family.frames + WEIGHT)), rel=1e-5)


@every_family
def test_start_and_end(family):
    pipe = family.build()
    with eav.enable(pipe, weight=WEIGHT, start=0.25, end=0.75) as handle:
        family.run(pipe, steps=4)
    assert {e.step for e in handle.trace()} == {1, 2}
    with pytest.raises(ValueError, match="bare transformer"):
        eav.enable(pipe.transformer, start=0.5)
    with pytest.raises(ValueError, match="fractions"):
        eav.enable(pipe, start=0.7, end=0.3)


@every_family
def test_bare_transformer(family):
    pipe = family.build()
    with eav.enable(pipe.transformer, weight=WEIGHT) as handle:
        enhanced = family.run(pipe)
    assert relative(enhanced, plainly(family, 1.0)) < 1e-4
    assert {e.step for e in handle.trace()} == set(range(STEPS))


@pytest.mark.parametrize("name", ["cogvideox", "ltx_video", "wan"])  # HunyuanVideo's attention has none to fuse
def test_fused_projections(name):
    family = FAMILIES[name]
    expected = plainly(family, 1.0)
    pipe = family.build()
    pipe.transformer.fuse_qkv_projections()
    with eav.enable(pipe, weight=WEIGHT):
        assert relative(family.run(pipe), expected) < 1e-4
    pipe = family.build()
    with eav.enable(pipe, weight=WEIGHT):
        pipe.transformer.fuse_qkv_projections()
        with pytest.warns(UserWarning, match="fused after enable"):
            assert relative(family.run(pipe), expected) < 1e-4


def test_the_users_backend_is_kept():
    family = FAMILIES["wan"]
    pipe = family.build()
    expected = plainly(family, 1.0)
    with eav.enable(pipe, weight=WEIGHT):
        pipe.transformer.set_attention_backend("_native_math")
        assert relative(family.run(pipe), expected) < 1e-4
    backends = {str(a.processor._attention_backend.value) for a in family.attentions(pipe.transformer)}
    assert backends == {"_native_math"}
    pipe.transformer.reset_attention_backend()


def test_enabling_twice_and_changing_the_weight():
    family = FAMILIES["cogvideox"]
    pipe = family.build()
    without = family.run(pipe)
    first = eav.enable(pipe, weight=5.0)
    second = eav.enable(pipe, weight=0.5)
    second.weight = WEIGHT
    assert relative(family.run(pipe), plainly(family, 1.0)) < 1e-4
    assert first.trace() == []
    first.disable()
    assert relative(family.run(pipe), plainly(family, 1.0)) < 1e-4
    second.disable()
    assert torch.equal(family.run(pipe), without)


def test_two_pipelines_and_two_frame_counts():
    family = FAMILIES["wan"]
    one, two = family.build(0), family.build(1)
    with eav.enable(one, weight=WEIGHT) as first, eav.enable(two, weight=WEIGHT) as second:
        family.run(one)
        assert first.trace() and not second.trace()
        latents = torch.randn(1, 4, 3, 4, 4)
        family_inputs = family.inputs()
        with torch.no_grad():
            one(**{**family_inputs, "latents": latents}, height=32, width=32, num_frames=9, guidance_scale=1.0,
                num_inference_steps=1, output_type="latent")
    entry = first.trace()[0]
    assert entry.gain == pytest.approx(max(1, entry.cfi * (3 + WEIGHT)), rel=1e-5)


def test_one_frame_is_left_alone():
    family = FAMILIES["wan"]
    pipe = family.build()
    inputs = {**family.inputs(), "latents": torch.randn(1, 4, 1, 4, 4)}
    call = dict(height=32, width=32, num_frames=1, guidance_scale=1.0, num_inference_steps=1, output_type="latent")
    with torch.no_grad():
        without = pipe(**inputs, **call).frames
        with eav.enable(pipe):
            assert torch.equal(pipe(**inputs, **call).frames, without)


def test_said_number_of_videos():
    """Two videos from the same latents, without guidance, look like a pair; videos=2 tells them apart.

    They differ by their text only, which reaches the video tokens in the first layer.
    """
    family = FAMILIES["cogvideox"]
    pipe = family.build()
    inputs = family.inputs((0, 1))
    inputs["latents"][1] = inputs["latents"][0]
    call = dict(**family.call, guidance_scale=1.0, num_inference_steps=1, output_type="latent", return_dict=False)
    with torch.no_grad():
        with eav.enable(pipe, weight=WEIGHT) as handle:
            pipe(**inputs, **call)
            guessed = [e.gain for e in handle.trace() if e.layer == 1]
        with eav.enable(pipe, weight=WEIGHT, videos=2) as handle:
            pipe(**inputs, **call)
            said = [e.gain for e in handle.trace() if e.layer == 1]
    assert guessed[0] == guessed[1] and said[0] != said[1]


def test_ltx_condition_tokens_are_left_out():
    """The condition pipeline's extra tokens come before the grid, and it gives coordinates instead of num_frames."""
    from enhance_a_video.families import grid_of_coordinates

    family = FAMILIES["ltx_video"]
    ids = diffusers.LTXConditionPipeline._prepare_video_ids
    scaled = diffusers.LTXConditionPipeline._scale_video_ids
    grid = scaled(ids(1, 5, 2, 2), frame_index=0)
    guide = scaled(ids(1, 2, 2, 2), frame_index=16)
    assert grid_of_coordinates(grid[0].float()) == (5, 20)
    coordinates = torch.cat([guide, grid], dim=2).float()
    assert grid_of_coordinates(coordinates[0]) == (5, 20)

    transformer = family.build().transformer
    inputs = family.inputs()
    latents = torch.cat([torch.randn(1, 8, 4), inputs["latents"]], dim=1)
    seen = []
    attention = transformer.transformer_blocks[0].attn1
    with eav.enable(transformer, weight=WEIGHT) as handle:
        attention.register_forward_hook(lambda m, args, output: seen.append(output))
        call = dict(
            hidden_states=latents, encoder_hidden_states=inputs["prompt_embeds"], timestep=torch.tensor([500.0]),
            encoder_attention_mask=inputs["prompt_attention_mask"], video_coords=coordinates,
        )
        with torch.no_grad():
            transformer(**call)
            handle.weight = -5.0  # a gain of one
            transformer(**call)
    gain = handle.trace()[0].gain
    assert gain > 1
    torch.testing.assert_close(seen[0][:, :8], seen[1][:, :8])
    torch.testing.assert_close(seen[0][:, 8:], seen[1][:, 8:] * gain)


def cache_configs(pipe):
    timestep = lambda: int(pipe.current_timestep)
    return {
        "first_block": diffusers.FirstBlockCacheConfig(threshold=10.0),
        "pyramid": diffusers.PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=2, spatial_attention_timestep_skip_range=(-1, 1001),
            current_timestep_callback=timestep,
        ),
        "faster": diffusers.FasterCacheConfig(
            spatial_attention_block_skip_range=2, spatial_attention_timestep_skip_range=(-1, 1001),
            unconditional_batch_skip_range=2, unconditional_batch_timestep_skip_range=(-1, 1001),
            attention_weight_callback=lambda _: 0.3, tensor_format="BFCHW", current_timestep_callback=timestep,
        ),
        "taylorseer": diffusers.TaylorSeerCacheConfig(
            cache_interval=2, disable_cache_before_step=1, cache_identifiers=["transformer_blocks.*attn1"],
            taylor_factors_dtype=torch.float32,
        ),
        "mag": diffusers.MagCacheConfig(
            num_inference_steps=4, retention_ratio=0.25, threshold=10.0, mag_ratios=torch.ones(4)
        ),
    }


@pytest.mark.parametrize("name", ["first_block", "pyramid", "faster", "taylorseer", "mag"])
def test_caches(name):
    """A cache around the enhanced layers gives what it gives around the plain formula; what it reuses is said."""
    family = FAMILIES["cogvideox"]

    def run(enhance):
        pipe = family.build()
        handle = enhance(pipe)
        pipe.transformer.enable_cache(cache_configs(pipe)[name])
        return family.run(pipe, guidance=4.0, steps=4), handle

    found, handle = run(lambda pipe: eav.enable(pipe, weight=WEIGHT))
    if name != "faster":  # the plain processor doesn't know of left out rows
        expected, _ = run(lambda pipe: family.enhance_plainly(pipe, WEIGHT, 4.0))
        assert relative(found, expected) < 1e-4
    entries = handle.trace()
    reused = [e for e in entries if e.reused]
    assert reused and len(reused) < len(entries)
    computed = {(e.layer, e.branch, e.gain) for e in entries if not e.reused}
    assert all((e.layer, e.branch, e.gain) in computed for e in reused)
    # Each step and layer stands there once for each branch, whatever was left out.
    places = [(e.step, e.layer, e.branch) for e in entries]
    assert len(set(places)) == len(places)
    if name == "faster":
        assert any(e.branch == "uncond" for e in reused)
        assert {e.step for e in entries if e.branch == "uncond"} == {e.step for e in entries if e.branch == "cond"}


def test_both_transformers_of_wan_2_2():
    """High noise goes through `transformer`, low noise through `transformer_2`."""
    family = FAMILIES["wan"]

    def build():
        pipe = family.build()
        second = family.build(seed=1).transformer
        return diffusers.WanPipeline(
            tokenizer=None, text_encoder=None, vae=None, scheduler=pipe.scheduler, transformer=pipe.transformer,
            transformer_2=second, boundary_ratio=0.6,
        )

    pipe = build()
    for attention in [*family.attentions(pipe.transformer), *family.attentions(pipe.transformer_2)]:
        attention.processor = PlainProcessor(attention.processor, family, family.frames, WEIGHT, family.rows(4.0))
    expected = family.run(pipe, guidance=4.0, steps=4)
    pipe = build()
    with eav.enable(pipe, weight=WEIGHT) as handle:
        assert relative(family.run(pipe, guidance=4.0, steps=4), expected) < 1e-4
    high, low = ({e.step for e in handle.trace() if e.transformer == t} for t in ("transformer", "transformer_2"))
    assert max(high) < min(low) and high | low == {0, 1, 2, 3}


def test_layerwise_casting_and_16_bit():
    family = FAMILIES["wan"]
    pipe = family.build()
    expected = family.run(pipe)
    pipe.transformer.enable_layerwise_casting(storage_dtype=torch.bfloat16, compute_dtype=torch.float32)
    with eav.enable(pipe, weight=WEIGHT) as handle:
        found = family.run(pipe)
    assert found.isfinite().all() and relative(found, expected) > 1e-3
    assert all(e.gain > 1 for e in handle.trace())


@every_family
def test_compiled_blocks(family):
    """Graphs of single blocks are whole, whatever runs around them."""
    pipe = family.build()
    with eav.enable(pipe, weight=WEIGHT) as handle:
        expected = family.run(pipe, guidance=4.0)
        gains = [e.gain for e in handle.trace()]
        for name, module in pipe.transformer.named_modules():
            if re.fullmatch(r"(single_transformer_|transformer_)?blocks\.\d+", name):
                module.compile(fullgraph=True, backend="eager")
        assert relative(family.run(pipe, guidance=4.0), expected) < 1e-4
        assert [e.gain for e in handle.trace()] == pytest.approx(gains, rel=1e-4)


def test_compiled_transformer():
    family = FAMILIES["wan"]
    pipe = family.build()
    expected = plainly(family, 1.0)
    pipe.transformer = torch.compile(pipe.transformer, backend="eager")
    with eav.enable(pipe, weight=WEIGHT):
        assert relative(family.run(pipe), expected) < 1e-4


def test_unknown_pipelines_and_processors_are_refused():
    with pytest.raises(ValueError, match="CogVideoX.*HunyuanVideo.*LTXVideo.*Wan"):
        eav.enable(torch.nn.Linear(1, 1))
    pipe = FAMILIES["wan"].build()
    pipe.transformer.blocks[1].attn1.processor = lambda *_: None
    with pytest.raises(ValueError, match="stand in for WanAttnProcessor only"):
        eav.enable(pipe)
    assert type(pipe.transformer.blocks[0].attn1.processor).__name__ == "WanAttnProcessor"
