"""Puts Enhance-A-Video into a diffusers pipeline or transformer, and takes it out again."""

import inspect
import warnings
from dataclasses import dataclass, replace

import torch

from .families import FAMILIES, family_of, is_guidance_pair
from .processors import Call, EnhancedProcessor


@dataclass(frozen=True)
class Entry:
    """What one layer did for one video at one step."""

    step: int
    transformer: str  # "transformer", or "transformer_2" in Wan 2.2
    layer: int
    branch: str  # "cond" or "uncond"
    video: int
    cfi: float
    gain: float
    reused: bool  # a cache gave an earlier output again; it keeps the gain that it was computed with


@dataclass(frozen=True)
class _Record:
    """An Entry of all rows of a batch, with values still on the device."""

    step: int
    transformer: str
    layer: int
    branch: str
    rows: list  # (branch, video) of each row
    cfi: torch.Tensor
    gain: torch.Tensor
    reused: bool

    def rows_that_lack(self, other):
        """What this record has of rows that another one, of the same batch, doesn't have."""
        kept = [i for i, row in enumerate(self.rows) if row not in other.rows]
        rows = [self.rows[i] for i in kept]
        return replace(other, rows=rows, cfi=self.cfi[kept], gain=self.gain[kept], reused=True)

    def together_with(self, other):
        rows = [*self.rows, *other.rows]
        return replace(self, rows=rows, cfi=torch.cat([self.cfi, other.cfi]), gain=torch.cat([self.gain, other.gain]))

    def entries(self):
        values = zip(self.rows, self.cfi.tolist(), self.gain.tolist())
        return [
            Entry(self.step, self.transformer, self.layer, branch, video, cfi, gain, self.reused)
            for (branch, video), cfi, gain in values
        ]


class _PipelineSteps:
    """Counts the distinct timesteps of a pipeline's scheduler."""

    def __init__(self, pipeline):
        self.pipeline = pipeline
        self.timesteps = None  # the scheduler's tensor, a new one for each run
        self.distinct = []

    def locate(self, timestep):
        """(step, number of steps, whether a new run began)."""
        timesteps = self.pipeline.scheduler.timesteps
        began = timesteps is not self.timesteps
        if began:
            self.timesteps = timesteps
            self.distinct = list(dict.fromkeys(timesteps.tolist()))
        current = getattr(self.pipeline, "current_timestep", None)
        # Conditioning tokens may have a timestep of their own, which is lower.
        value = float(timestep.max() if current is None else current)
        step = min(range(len(self.distinct)), key=lambda i: abs(self.distinct[i] - value))
        return step, len(self.distinct), began


class _CallSteps:
    """Without a pipeline, a step is a call with another timestep than the last; how many there will be is unknown."""

    def __init__(self):
        self.step, self.value = -1, None

    def locate(self, timestep):
        value = float(timestep.max())
        if value != self.value:
            self.step, self.value = self.step + 1, value
        return self.step, None, False


class _Attachment:
    """The enhanced layers of one transformer."""

    def __init__(self, handle, name, transformer):
        self.handle, self.name, self.transformer = handle, name, transformer
        self.family = family_of(transformer)
        self.signature = inspect.signature(type(transformer).forward)
        self.call = Call()
        self.place = None  # (step, branch of the call) of the forward pass that runs
        self.rows = 0  # of the batch that the transformer is given
        self.calls_in_step = (None, 0)
        self.last = {}  # (layer, branch of the call) -> the record of its last output, None where that wasn't enhanced
        self.attentions = self.family.attentions(transformer)
        for attention in self.attentions:
            if isinstance(attention.processor, EnhancedProcessor):
                attention.processor.owner.disable()
            self._check(attention)
        for attention in self.attentions:
            self._install(attention)
        self.fused = self._projections_fused()
        # The hooks run Python that no graph can hold; the layers between them compile.
        self.hooks = [
            transformer.register_forward_pre_hook(torch.compiler.disable(self._before), with_kwargs=True),
            transformer.register_forward_hook(torch.compiler.disable(self._after)),
        ]

    def _check(self, attention):
        known = self.family.processor.stands_for
        if type(attention.processor) not in known:
            names = ", ".join(t.__name__ for t in known)
            found = type(attention.processor).__name__
            raise ValueError(f"{self.name} has a {found}; Enhance-A-Video can stand in for {names} only")

    def _install(self, attention):
        attention.set_processor(self.family.processor(attention.processor, self.call, self.handle))

    def _projections_fused(self):
        return any(getattr(a, "fused_projections", False) for a in self.attentions)

    def _notice_changes(self):
        """Follows processors that were changed since: fusing CogVideoX's projections sets new ones."""
        for attention in self.attentions:
            processor = attention.processor
            if not isinstance(processor, EnhancedProcessor) or processor.owner is not self.handle:
                self._check(attention)
                self._install(attention)
        if self._projections_fused() != self.fused:
            self.fused = not self.fused
            state = "fused" if self.fused else "unfused"
            message = f"{self.name}: projections were {state} after enable(); they are enhanced as well"
            warnings.warn(message, stacklevel=2)

    def _before(self, _, args, kwargs):
        self._notice_changes()
        inputs = self.signature.bind(self.transformer, *args, **kwargs).arguments
        step, steps, began = self.handle._steps.locate(torch.as_tensor(inputs["timestep"]))
        if began:
            self.handle._begin_run()
        number = self.calls_in_step[1] + 1 if self.calls_in_step[0] == step else 0
        self.calls_in_step = (step, number)
        # Pipelines that evaluate the branches one after the other begin with the prompt.
        self.place = (step, "cond" if number == 0 else "uncond")

        self.rows = rows = inputs["hidden_states"].shape[0]
        videos = self.handle.videos
        if videos is None:
            paired = self.family.guidance_pair and is_guidance_pair(inputs["hidden_states"])
            videos = rows // 2 if paired else rows
        elif rows % videos:
            raise ValueError(f"videos={videos} doesn't divide the batch of {rows} rows")
        call = self.call
        call.frames, call.tokens = self.family.grid(self.transformer, inputs)
        call.videos, call.weight = videos, self.handle.weight
        within = steps is None or self.handle.start * steps <= step < self.handle.end * steps
        # A single frame has no other to attend to: its gain is 1.
        call.active = within and call.frames > 1
        for attention in self.attentions:
            attention.processor.ran, attention.processor.measured = False, None

    def _after(self, *_):
        step, branch = self.place
        for layer, attention in enumerate(self.attentions):
            processor = attention.processor
            key = layer, branch
            if processor.ran:
                record = self._record(layer, processor.measured) if processor.measured else None
                last = self.last.get(key)
                self.last[key] = record
                # A cache that evaluates a part of the batch makes up the rest from what these rows gave last.
                if record and last and len(record.rows) < self.rows == len(last.rows):
                    reused = last.rows_that_lack(record)
                    self.handle._records.append(reused)
                    self.last[key] = reused.together_with(record)
            else:
                last = self.last.get(key)
                record = last and _Record(step, self.name, layer, branch, last.rows, last.cfi, last.gain, reused=True)
            if record:
                self.handle._records.append(record)
            processor.measured = None

    def _record(self, layer, measured):
        step, branch = self.place
        cfi, gain = measured
        videos = self.call.videos
        if len(cfi) > videos:
            branches = ["uncond"] * videos + ["cond"] * (len(cfi) - videos)
        else:
            branches = [branch] * len(cfi)
        rows = [(name, row % videos) for row, name in enumerate(branches)]
        return _Record(step, self.name, layer, branch, rows, cfi, gain, reused=False)

    def remove(self):
        self.call.active = False
        for hook in self.hooks:
            hook.remove()
        for attention in self.attentions:
            processor = attention.processor
            if isinstance(processor, EnhancedProcessor) and processor.owner is self.handle:
                attention.set_processor(processor.original)


class Handle:
    """An enhancement that is in place until disable(), or until the end of a with statement.

    `weight` may be changed between calls.
    """

    def __init__(self, transformers, pipeline, weight, start, end, videos):
        if not 0 <= start < end <= 1:
            raise ValueError(f"start and end are fractions, 0 <= start < end <= 1; found {start} and {end}")
        if pipeline is None and (start, end) != (0, 1):
            raise ValueError("start and end need a pipeline: a bare transformer doesn't know how many steps there are")
        if videos is not None and videos < 1:
            raise ValueError(f"videos is the number of videos in a batch, found {videos}")
        self.weight, self.start, self.end, self.videos = weight, start, end, videos
        self._records = []
        self._steps = _CallSteps() if pipeline is None else _PipelineSteps(pipeline)
        self._attachments = []
        try:
            for name, transformer in transformers.items():
                self._attachments.append(_Attachment(self, name, transformer))
        except Exception:
            self.disable()
            raise

    def _begin_run(self):
        self._records.clear()
        for attachment in self._attachments:
            attachment.last.clear()
            attachment.calls_in_step = (None, 0)

    def trace(self):
        """Entries of the pipeline's last run (of all calls of a bare transformer), in the order of computation."""
        return [entry for record in self._records for entry in record.entries()]

    def disable(self):
        """Puts the transformer back as it was. What was traced stays."""
        for attachment in self._attachments:
            attachment.remove()
        self._attachments = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.disable()


def _uncompiled(module):
    return getattr(module, "_orig_mod", module)


def enable(target, weight=1.0, *, start=0.0, end=1.0, videos=None):
    """Enhances a diffusers pipeline or transformer of CogVideoX, HunyuanVideo, LTX-Video or Wan.

    weight: the enhance temperature; the gain of a layer is max(1, CFI * (T + weight)).
    start, end: the fractions of a pipeline's steps between which layers are enhanced.
    videos: how many videos a batch holds, where it can't be told: rows i, i + videos, ... are branches of one video.

    What was enabled on the same transformer before is disabled.
    """
    if isinstance(target, torch.nn.Module):
        pipeline, transformers = None, {"transformer": _uncompiled(target)}
    else:
        pipeline, transformers = target, {}
        for name in ("transformer", "transformer_2"):
            transformer = getattr(target, name, None)
            if transformer is not None:
                transformers[name] = _uncompiled(transformer)
        if not transformers:
            found = type(target).__name__
            raise ValueError(f"{found} has no transformer that is known; known are {', '.join(FAMILIES)}")
    return Handle(transformers, pipeline, weight, start, end, videos)
