"""The enhancement of one MODEL: wrappers that a clone of it carries, and nothing outside of them.

While a forward pass runs, and only then, the `forward` of each enhanced layer is wrapped as it stands, with what other
nodes made of it. So it does not matter where in a graph those nodes are, and nothing is left on the model.
"""

import logging
from contextlib import ExitStack, contextmanager

import torch

from .families import named_arguments
from .formula import cfi, gain_of
from .trace import Run

KEY = "enhance_a_video"
OVERRIDE = "optimized_attention_override"
RUNS_KEPT = 8


class Enhancement:
    """`layers` are those of the diffusion model that are enhanced, by number; `start` and `end` are percents 0 to 1."""

    def __init__(self, family, weight, start, end, layers):
        self.family, self.weight, self.start, self.end = family, weight, start, end
        self.layers = layers  # names by number
        self.runs = []  # the last runs of a sampler, oldest first
        self.warned = False

    def outer_sample(self, executor, noise, latent_image, sampler, sigmas, *args, **kwargs):
        """Around a whole run of a sampler."""
        sampling = executor.class_obj.model_patcher.get_model_object("model_sampling")
        first, last = (float(sampling.percent_to_sigma(percent)) for percent in (self.start, self.end))
        run = Run(self.layers, sigmas.tolist(), first, last)
        self.runs = [*self.runs[1 - RUNS_KEPT :], run]
        output = executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
        run.finish(output)
        return output

    def diffusion_model(self, executor, *args, **kwargs):
        """Around a forward pass, with whatever rows the sampler put into one batch."""
        call = named_arguments(executor.original, args, kwargs)
        options = call.get("transformer_options") or {}
        if not self.runs:  # the model is called outside of a sampler
            self.runs.append(Run(self.layers, [], float("inf"), 0.0))
        step = self.runs[-1].forward_pass(options.get("sigmas"), options.get("cond_or_uncond"), len(call["x"]))
        grid = self.family.grid(executor.class_obj, call)
        if not step.active or grid.frames < 1:
            return executor(*args, **kwargs)
        with ExitStack() as stack:
            for layer in self.family.layers(executor.class_obj):
                if layer.number in self.layers:
                    EnhancedLayer(self, layer, grid, step).enter(stack)
            return executor(*args, **kwargs)

    def warn(self, message):
        if not self.warned:
            logging.warning(f"Enhance-A-Video: {message}")
        self.warned = True


class EnhancedLayer:
    """One layer during one forward pass."""

    def __init__(self, enhancement, layer, grid, step):
        self.enhancement, self.layer, self.grid, self.step = enhancement, layer, grid, step
        self.gain = None  # [B, 1, 1], between the attention and the projection after it
        self.seen = False  # in the call of `measured` that runs

    def enter(self, stack):
        stack.enter_context(wrapped_forward(self.layer.measured, self.measured))
        if self.layer.scaled not in (None, self.layer.measured):
            stack.enter_context(wrapped_forward(self.layer.scaled, self.scaled))

    def measured(self, forward, *args, transformer_options=None, **kwargs):
        """Around the module that attends: it gets options of its own, whose override sees query and key."""
        options = dict(transformer_options or {})
        self.gain, self.seen = None, False
        options[OVERRIDE] = self.attention(options.get(OVERRIDE))
        output = forward(*args, transformer_options=options, **kwargs)
        return self.scale(output) if self.layer.scaled is self.layer.measured else output

    def scaled(self, forward, *args, **kwargs):
        """Around the projection that follows attention."""
        return self.scale(forward(*args, **kwargs))

    def attention(self, override):
        """An override of attention that measures, then does what would have been done without it."""

        def attend(function, *args, **kwargs):  # query, key, value, heads, ...
            heads = args[3] if len(args) > 3 else kwargs["heads"]
            self.measure(*args[:2], heads, kwargs.get("skip_reshape", False))
            output = function(*args, **kwargs) if override is None else override(function, *args, **kwargs)
            return self.scale(output) if self.layer.scaled is None else output

        return attend

    def measure(self, query, key, heads, heads_first):
        """The gain of each batch row, of the query and key that attention gets.

        Where attention is split, such as for guides with a strength of their own, the video's queries come first.
        """
        grid = self.grid
        if self.seen:
            return
        self.seen = True
        if not heads_first:  # [B, L, heads * d]
            query, key = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key))
        videos = [grid.video(x.shape[2]) for x in (query, key)]
        if None in videos:
            self.enhancement.warn(
                f"a layer attends over {query.shape[2]} tokens, too few for the latent's {grid.frames} frames of "
                f"{grid.positions}; such layers are left as they are"
            )
            return
        query, key = (x[:, :, video] for x, video in zip((query, key), videos, strict=True))  # [B, heads, T*S, d]
        if grid.frames == 1:  # no other frame to look at
            gain = query.new_ones(query.shape[0], dtype=torch.float32)
            measured = torch.zeros_like(gain)
        else:
            measured = cfi(query, key, grid.frames)
            gain = gain_of(measured, grid.frames, self.enhancement.weight)
        self.step.record(self.layer.number, measured, gain)
        self.gain = gain[:, None, None]

    def scale(self, output):
        """Multiplies the video's tokens of [B, L, C] by their row's gain, in float32."""
        gain, self.gain = self.gain, None
        if gain is None:
            return output
        video = self.grid.video(output.shape[1])
        if output.requires_grad and torch.is_grad_enabled():
            parts = output[:, : video.start], (output[:, video] * gain).to(output.dtype), output[:, video.stop :]
            return torch.cat(parts, dim=1)
        result = output.clone()
        torch.mul(output[:, video], gain, out=result[:, video])  # without a copy in float32
        return result


@contextmanager
def wrapped_forward(module, around):
    """While it is entered, the module's forward is `around(forward, ...)`."""
    own = module.__dict__.get("forward")  # of a node that patched it, if any
    forward = module.forward
    module.forward = lambda *args, **kwargs: around(forward, *args, **kwargs)
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
