#include "models/wan/job.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/tensor_memory.h"
#include "models/wan/prompt_cleaning.h"
#include "nn/planned.h"
#include "options/sizes.h"
#include "sampling/sample.h"
#include "schedulers/flow_match_euler.h"
#include "schedulers/unipc.h"
#include "text/prompt.h"

namespace eav::wan {

// One expert is open at a time, unless the placement says that both stay: each has run the steps before the other's.
class WanDenoiser : public Denoiser {
 public:
  WanDenoiser(const WanJob& job, std::vector<PartFiles*> parts, std::vector<int64_t> experts, const Scheduler& schedule,
              Progress& progress)
      : job_(job),
        parts_(std::move(parts)),
        experts_(std::move(experts)),
        progress_(progress),
        where_(job.model().transformer.placement()),
        timesteps_(job.timesteps(schedule.timesteps().to(at::kFloat))) {
    timesteps_.values = timesteps_.values.to(where_.device);
  }

  // The prompt runs first; each branch has its own CFI.
  Guidance guidance(const Step& step) const override {
    const auto& o = job_.asked();
    if (!o.guided() || !o.guides(step.index, step.count)) return {};
    return {
        .branches = Guidance::Branches::apart, .scale = expert(step) == 2 ? o.guidance_2 : o.guidance, .prompt_row = 0};
  }

  ModelSteps of_model(const Step& step) const override {
    if (experts_.empty()) return Denoiser::of_model(step);
    const auto first = std::ranges::find(experts_, expert(step)) - experts_.begin();
    return {first, std::ranges::count(experts_, expert(step))};
  }

  Tensor predict(const Tensor& latents, Step& step) override {
    if (const auto wanted = expert(step); wanted != open_) open(wanted);
    const auto& context = contexts_[static_cast<size_t>(step.branch)];
    return (*transformer_)(job_.model_input(latents).to(where_.compute),
                           {timesteps_.values[step.index], timesteps_.tokens}, context, rope_, step)
        .to(at::kFloat);
  }

 private:
  int64_t expert(const Step& step) const {
    if (experts_.empty()) return 1;
    // A plan ends early: its second step is one of the last expert's.
    if (where_.device.is_meta() && step.index > 0) return experts_.back();
    return experts_[static_cast<size_t>(step.index)];
  }

  void open(int64_t number) {
    contexts_.clear();
    if (open_ != 0 && !where_.together) {
      parts_[static_cast<size_t>(open_ - 1)]->release();
      give_memory_of_tensors_back();
    }
    const auto& part = number == 2 ? *job_.model().transformer_2 : job_.model().transformer;
    if (number == 2) progress_.phase(part.name());
    transformer_ = &*part;
    open_ = number;
    const auto& encodings = job_.encodings();
    for (const auto& text : {encodings.prompt, encodings.negative})
      if (text.defined()) contexts_.push_back(transformer_->context(text, encodings.pictures));
    const auto& shape = job_.latent_shape_;
    rope_ = transformer_->rope(shape[2], shape[3], shape[4], where_.device);
  }

  const WanJob& job_;
  std::vector<PartFiles*> parts_;  // the experts'
  std::vector<int64_t> experts_;   // of the steps; empty where there is one
  Progress& progress_;
  const Placement& where_;
  Timesteps timesteps_;  // of runs of tokens, [steps, runs]
  int64_t open_ = 0;     // the expert that is at work: 1 or 2
  const Transformer* transformer_ = nullptr;
  std::vector<Context> contexts_;  // of its branches
  Rope rope_;
};

// ---- what all have in common ----------------------------------------------------------------------------------------

WanJob::WanJob(std::shared_ptr<Model> opened, Options options) : JobOf(std::move(opened), std::move(options)) {
  const auto& o = asked();
  const auto& c = model().config;
  const auto& vae = model().vae_config;
  const auto pixels = vae.spatial_compression(), ratio = vae.temporal_compression();
  o.check_layers(c.num_layers);
  const auto most = c.rope_max_seq_len * pixels;
  check_size("height", o.height, pixels * c.patch_size[1], most * c.patch_size[1]);
  check_size("width", o.width, pixels * c.patch_size[2], most * c.patch_size[2]);
  check_frames(o.frames, ratio);
  latent_shape_ = {1, vae.z_dim, (o.frames - 1) / ratio + 1, o.height / pixels, o.width / pixels};
  if (latent_shape_[2] % c.patch_size[0] != 0)
    throw Error("frames", fmt::format("frames is {}: its {} latent frames are no multiple of the {} that make a token",
                                      o.frames, latent_shape_[2], c.patch_size[0]));
  if (latent_shape_[2] / c.patch_size[0] > c.rope_max_seq_len)
    throw Error("frames", fmt::format("frames is {}, expected at most {}", o.frames,
                                      vae.video_frames(c.rope_max_seq_len * c.patch_size[0])));
  if (!o.init_latents.empty()) load_latents(o.init_latents, latent_shape_);
}

WanJob::Schedule WanJob::schedule() const {
  const auto& own = model().layout.scheduler_config;
  const auto& o = asked();
  // Where the other scheduler is asked for, it takes the shift and the number of steps trained with.
  const auto as = [&](const char* name, nlohmann::json other) {
    if (own.get<std::string>("_class_name") == name) return own;
    other["_class_name"] = name;
    other["num_train_timesteps"] = own.count("num_train_timesteps", 1000);
    return JsonFile(own.path(), std::move(other));
  };
  const auto begun = [&](auto scheduler) {
    scheduler->skip(skipped_steps());
    const auto sigma = scheduler->sigmas()[0];
    return Schedule{std::move(scheduler), sigma};
  };
  if (const auto name = own.get<std::string>("_class_name"); name != kUniPc && name != kEuler)
    throw Error(
        fmt::format("{}: the scheduler is {}; supported are {} and {}", own.path().string(), name, kUniPc, kEuler));
  if (o.scheduler == "unipc")
    return begun(std::make_unique<UniPcScheduler>(
        as(kUniPc, {{"prediction_type", "flow_prediction"}, {"use_flow_sigmas", true}}), o.flow_shift, o.steps));
  auto euler = std::make_unique<FlowMatchEulerScheduler>(as(kEuler, nlohmann::json::object()), o.flow_shift);
  euler->set_steps(o.steps);
  return begun(std::move(euler));
}

std::vector<int64_t> WanJob::experts(const Scheduler& schedule) const {
  std::vector<int64_t> experts;
  if (!model().boundary_ratio) return experts;
  const auto trained = static_cast<double>(model().layout.scheduler_config.count("num_train_timesteps", 1000));
  for (int64_t i = 0; i < schedule.steps(); ++i) {
    const auto first = schedule.timesteps()[i] >= *model().boundary_ratio * trained;  // in the type of timesteps
    experts.push_back(first.item<bool>() ? 1 : 2);
  }
  return experts;
}

Grid WanJob::grid() const {
  const auto& p = model().config.patch_size;
  return {latent_shape_[2] / p[0], (latent_shape_[3] / p[1]) * (latent_shape_[4] / p[2])};
}

Timesteps WanJob::timesteps(const Tensor& of_steps) const { return {of_steps.unsqueeze(1), {grid().tokens()}}; }

Tensor WanJob::embed(const std::string& prompt, Progress& progress) const {
  const auto& where = model().text_encoder.placement();
  const auto tokens = tokenize(model().tokenizer, clean_prompt(prompt), kTextTokens, where.device);
  warn_of_cut(tokens.cut, kTextTokens, progress);
  return encode_without_padding(*model().text_encoder, tokens, where.compute, progress)
      .to(model().transformer.placement().compute);  // [1, 512, text_dim]
}

Encodings WanJob::read_encodings(Progress& progress) {
  Encodings encodings{.prompt = embed(asked().prompt, progress), .negative = {}, .pictures = {}, .condition = {}};
  if (asked().guided()) encodings.negative = embed(asked().negative_prompt.value_or(""), progress);
  read_conditions(encodings, progress);
  forget_pictures();
  return encodings;
}

Tensor WanJob::encode_video(const Tensor& video, Progress& progress) const {
  progress.phase("vae encoder");
  const auto& where = model().vae_encoder.placement();
  const auto latents =
      model().vae_encoder->encode(video.to(where.device, where.compute), asked().tiled(), progress).to(at::kFloat);
  return latents.to(model().transformer.placement().device);
}

Tensor WanJob::frames_of(const Picture& picture, Progress& progress, int64_t most) const {
  return to_video(fit(picture, asked().height, asked().width, asked().image_fit, progress, most));
}

Denoised WanJob::denoise(Progress& progress, const Saving& saving, const Watch& watch) {
  const auto schedule = this->schedule();
  at::Generator generator = at::detail::createCPUGenerator(asked().seed);
  // Latents stay in float32 between the steps, whatever the model computes in.
  const auto noise = initial_latents(asked().init_latents, latent_shape_, generator,
                                     at::TensorOptions(at::kFloat).device(model().transformer.placement().device));
  const auto experts = this->experts(*schedule.scheduler);
  WanDenoiser denoiser(*this, parts(Phase::transformer), experts, *schedule.scheduler, progress);
  Enhancer enhancer(asked().enhance, schedule.scheduler->steps(), model().config.num_layers);
  const auto latents = sample(denoiser, *schedule.scheduler, first_latents(noise, schedule.first_sigma),
                              {enhancer, grid(), generator, progress, saving,
                               in_layout(watch, [this](const Tensor& x) { return shown(x); }), asked().cache});
  auto trace = enhancer.trace();
  trace.experts = experts;
  return {shown(latents), generator, std::move(trace)};
}

Tensor WanJob::decode(const Denoised& denoised, Progress& progress) const {
  return to_pictures(decode_sample(denoised.latents, progress));
}

std::vector<int64_t> WanJob::sample_shape() const {
  auto shape = latent_shape_;
  shape[2] = std::min(shape[2], kSampleFrames);
  return shape;
}

Tensor WanJob::decode_sample(const Tensor& latents, Progress& progress) const {
  const auto& where = model().vae.placement();
  return model().vae->decode(latents.to(where.device, where.compute), asked().tiled(), progress);
}

}  // namespace eav::wan
