#include "models/hunyuan_video/job.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>

#include "models/hunyuan_video/text_prompt.h"
#include "options/sizes.h"
#include "sampling/sample.h"
#include "text/prompt.h"

namespace eav::hunyuan_video {
namespace {

constexpr int64_t kClipTokens = 77;  // of CLIP's own prompt

}  // namespace

class HunyuanDenoiser : public Denoiser {
 public:
  HunyuanDenoiser(const HunyuanJob& job, const Scheduler& schedule)
      : job_(job),
        transformer_(*job.model().transformer),
        where_(job.model().transformer.placement()),
        schedule_(schedule),
        inputs_(transformer_.prepare(job.latent_shape_[2], job.latent_shape_[3], job.latent_shape_[4], where_.device)) {
  }

  // The prompt runs first; each branch has its own CFI.
  Guidance guidance(const Step& step) const override {
    if (!job_.asked().truly_guided() || !job_.asked().guides(step.index, step.count)) return {};
    return {.branches = Guidance::Branches::apart, .scale = job_.asked().true_guidance, .prompt_row = 0};
  }
  Tensor predict(const Tensor& latents, Step& step) override {
    const auto timestep = at::full({1}, schedule_.timesteps()[step.index].item<double>(),
                                   at::TensorOptions(at::kFloat).device(where_.device));
    const auto& caption = step.branch == 0 ? job_.encodings().prompt : *job_.encodings().negative;
    return transformer_(job_.model_input(latents).to(where_.compute), timestep, job_.asked().guidance, caption, inputs_,
                        step);
  }
  Tensor after_step(const Tensor& next, const Tensor& /*input*/, const Step& /*step*/) const override {
    return job_.after_step(next);
  }

 private:
  const HunyuanJob& job_;
  const Transformer& transformer_;
  const Placement& where_;
  const Scheduler& schedule_;
  Transformer::Inputs inputs_;
};

HunyuanJob::HunyuanJob(std::shared_ptr<Model> opened, Options options) : JobOf(std::move(opened), std::move(options)) {
  const auto& o = asked();
  const auto& c = model().config;
  const auto& vae = model().vae_config;
  const auto pixels = vae.spatial_compression();
  o.check_layers(c.layers());
  if (o.truly_guided() && !o.negative_prompt)
    throw Error("true_guidance",
                fmt::format("true guidance of {} needs a negative prompt, which may be empty", o.true_guidance));
  check_size("width", o.width, pixels * c.patch_size);
  check_size("height", o.height, pixels * c.patch_size);
  check_frames(o.frames, vae.temporal_compression_ratio);
  latent_shape_ = {1, c.out_channels, (o.frames - 1) / vae.temporal_compression_ratio + 1, o.height / pixels,
                   o.width / pixels};
  if (latent_shape_[2] % c.patch_size_t != 0)
    throw Error("frames", fmt::format("frames is {}: its {} latent frames are no multiple of the {} that make a token",
                                      o.frames, latent_shape_[2], c.patch_size_t));
  schedule();
  enhancement();
  if (!o.init_latents.empty()) load_latents(o.init_latents, latent_shape_);
}

FlowMatchEulerScheduler HunyuanJob::schedule() const {
  FlowMatchEulerScheduler scheduler(model().layout.scheduler_config, asked().flow_shift);
  const auto steps = asked().steps;
  scheduler.set_sigmas(at::linspace(1, 0, steps + 1, at::kDouble).slice(0, 0, steps));
  return scheduler;
}

// Dual-stream blocks come first.
EnhanceOptions HunyuanJob::enhancement() const {
  const auto& c = model().config;
  auto options = asked().enhance;
  if (asked().enhance_blocks == "double") options.layers = options.layers.within(0, c.num_layers - 1);
  if (asked().enhance_blocks == "single") options.layers = options.layers.within(c.num_layers, c.layers() - 1);
  return options;
}

Grid HunyuanJob::grid() const {
  const auto& c = model().config;
  return {latent_shape_[2] / c.patch_size_t, (latent_shape_[3] / c.patch_size) * (latent_shape_[4] / c.patch_size)};
}

Transformer::Caption HunyuanJob::caption(const Tensor& text, const std::string& prompt, Progress& progress) const {
  const auto& where = model().clip.placement();
  const auto tokens = tokenize(model().clip_tokenizer, prompt, kClipTokens, where.device);
  if (!tokens.cut.empty())
    progress.warning(fmt::format("CLIP, one of the two text encoders, takes {} tokens; it does not see: \"{}\"",
                                 kClipTokens, tokens.cut));
  const auto type = model().transformer.placement().compute;
  return {text.to(type), (*model().clip)(tokens.ids, where.compute, progress).to(type)};
}

Denoised HunyuanJob::denoise(Progress& progress, const Saving& saving, const Watch& watch) {
  auto schedule = this->schedule();
  at::Generator generator = at::detail::createCPUGenerator(asked().seed);
  // Latents stay in float32 between the steps, whatever the model computes in.
  const auto noise = initial_latents(asked().init_latents, latent_shape_, generator,
                                     at::TensorOptions(at::kFloat).device(model().transformer.placement().device));
  HunyuanDenoiser denoiser(*this, schedule);
  Enhancer enhancer(enhancement(), asked().steps, model().config.layers());
  const auto latents = sample(denoiser, schedule, first_latents(noise),
                              {enhancer, grid(), generator, progress, saving,
                               in_layout(watch, [this](const Tensor& x) { return shown_latents(x); }), asked().cache});
  return {latents, generator, enhancer.trace()};
}

Tensor HunyuanJob::decode(const Denoised& denoised, Progress& progress) const {
  return to_pictures(decode_sample(denoised.latents, progress).slice(2, hidden_frames()));
}

std::vector<int64_t> HunyuanJob::sample_shape() const {
  auto shape = latent_shape_;
  shape[2] = std::min(shape[2], kSampleFrames);
  return shape;
}

Tensor HunyuanJob::decode_sample(const Tensor& latents, Progress& progress) const {
  const auto& where = model().vae.placement();
  const auto scaled = latents.to(where.device, where.compute) / model().vae_config.scaling_factor;
  return model().vae->decode(scaled, asked().tiled(), progress);
}

// ---- from text ------------------------------------------------------------------------------------------------------

Tensor TextJob::embed(const std::string& prompt, Progress& progress) const {
  const auto& m = model();
  const auto& where = m.llama->placement();
  const auto tokens = where.device.is_meta() ? TextPrompt{all_tokens(kInstructionTokens + kPromptTokens), {}}
                                             : text_prompt(*m.llama_tokenizer, prompt, m.layout.tokenizer.string());
  warn_of_cut(tokens.cut, kPromptTokens, progress);
  return (**m.llama)(tokens.ids.to(where.device), where.compute, progress).slice(1, kInstructionTokens);
}

Encodings TextJob::read_encodings(Progress& progress) {
  const auto caption_of = [&](const std::string& prompt) { return caption(embed(prompt, progress), prompt, progress); };
  Encodings encodings{caption_of(asked().prompt), std::nullopt, {}};
  if (asked().truly_guided()) encodings.negative = caption_of(*asked().negative_prompt);
  return encodings;
}

}  // namespace eav::hunyuan_video
