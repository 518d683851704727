#include "models/open_sora/job.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "models/open_sora/denoiser.h"
#include "nn/planned.h"
#include "sampling/stages.h"
#include "schedulers/rectified_flow.h"
#include "text/caption_cleaning.h"
#include "text/prompt.h"

namespace eav::open_sora {
namespace {

constexpr double kPictureFps = 120;  // that the model is told of a single frame

bool is_at_end(const Condition& condition) { return condition.frame_index == -1; }

// The prompt with what it does not say already written after it, as in the training captions.
std::string with_scores(const Options& options) {
  auto prompt = options.prompt;
  const auto append = [&](const std::string& name, const std::string& value) {
    if (options.prompt.find(name) == std::string::npos) prompt += fmt::format(" {} {}.", name, value);
  };
  append("aesthetic score:", fmt::format("{:.1f}", options.aesthetic_score));
  if (options.motion_score) append("motion score:", fmt::format("{:.1f}", *options.motion_score));
  if (options.camera_motion) append("camera motion:", *options.camera_motion);
  return prompt;
}

// The clips that are finished.
struct Clips {
  std::vector<Tensor> latents;
  std::vector<Enhancer> enhancers;

  int64_t count() const { return std::ssize(latents); }

  // With how the next one finds the generator.
  SavedState save(const at::Generator& generator) const {
    SavedState state{{{"clips", at::scalar_tensor(count(), at::kLong)}, {"generator", generator.get_state()}}};
    for (size_t i = 0; i < latents.size(); ++i) {
      state.tensors[fmt::format("clip{}.latents", i)] = latents[i];
      state.add(fmt::format("clip{}.enhancer.", i), enhancers[i].save());
    }
    return state;
  }
  void load(const SavedState& state, int64_t loop, const Tensor& like, const Enhancer& unused,
            at::Generator& generator) {
    generator.set_state(state.like("generator", generator.get_state()));
    const auto saved = state.whole("clips", 0, loop - 1);
    for (int64_t i = 0; i < saved; ++i) {
      const auto clip = state.part(fmt::format("clip{}.", i));
      latents.push_back(clip.like("latents", like));
      enhancers.emplace_back(unused).load(clip.part("enhancer."));
    }
  }

  Trace trace() const {
    std::vector<Trace> traces;
    for (const auto& enhancer : enhancers) traces.push_back(enhancer.trace());
    return joined_traces(traces);
  }
};

}  // namespace

// ---- a request -----------------------------------------------------------------------------------------------------

Job::Job(std::shared_ptr<Model> opened, Options options) : JobOf(std::move(opened), std::move(options)) {
  const auto& o = asked();
  const auto ratio = model().vae_config.spatial.compression();
  o.check_layers(model().config.depth);
  for (const auto& [name, value] : {std::pair{"width", o.width}, {"height", o.height}})
    if (value < ratio) throw Error(name, fmt::format("{} is {}, expected at least {}", name, value, ratio));
  [[maybe_unused]] const RectifiedFlowScheduler exists(o.steps, o.height, o.width, o.frames);
  latents_shape_ = {1, model().config.in_channels, model().vae_config.latent_frames(o.frames), o.height / ratio,
                    o.width / ratio};
  check_loop();
  pictures_ = model().pictures.read(o.conditions, o.frames);
  check_conditions();
  if (!o.init_latents.empty()) load_latents(o.init_latents, latents_shape_);
}

void Job::check_loop() const {
  const auto frames = asked().frames, batch = model().vae_config.batch_frames(frames);
  if (asked().loop > 1 && (frames < 2 * batch || frames % batch != 0))
    throw Error("loop",
                fmt::format("a loop goes on from the last {} frames of a clip, which has {}: expected a multiple of {} "
                            "from {} on",
                            batch, frames, batch, 2 * batch));
}

void Job::check_conditions() const {
  int64_t begins = 0, ends = 0;
  for (const auto& condition : asked().conditions) {
    (is_at_end(condition) ? ends : begins)++;
    if (!is_at_end(condition) && condition.frame_index.value_or(0) != 0)
      throw Error("conditions",
                  fmt::format("'{}' is to begin at frame {}, but Open-Sora takes pictures and clips at the beginning, "
                              "and with `last_image` a picture at the end",
                              condition.file.string(), *condition.frame_index));
  }
  if (begins > 1) throw Error("conditions", "Open-Sora begins with one `image` or `video`: leave the others out");
  if (ends > 1) throw Error("conditions", "the video ends with one `last_image`: leave the others out");
  if (ends > 0 && latents_shape_[2] == 1)
    throw Error("conditions", "a single frame has no end: leave `last_image` out, or give more `frames`");
}

VideoSize Job::video_size() const {
  const auto ratio = model().vae_config.spatial.compression(), frames = asked().frames;
  return {frames + (asked().loop - 1) * (frames - model().vae_config.batch_frames(frames)),
          asked().height / ratio * ratio, asked().width / ratio * ratio};
}

Grid Job::grid() const { return model().config.grid(latents_shape_[2], latents_shape_[3], latents_shape_[4]); }

// ---- the phases -----------------------------------------------------------------------------------------------------

Tensor Job::embed(Progress& progress) const {
  auto prompt = with_scores(asked());
  if (asked().clean_prompt) {
    const auto cleaned = clean_caption(prompt);
    if (cleaned.removed_tags)
      progress.warning(
          "what stands between < and > in the prompt was taken for a tag and left out; turn `clean_prompt` off to "
          "keep it");
    if (cleaned.removed_cjk)
      progress.warning(
          "Chinese, Japanese and Korean signs were taken out of the prompt, which this model was trained "
          "without: write it in English");
    prompt = cleaned.text;
  } else {
    prompt = plain_caption(prompt);
  }
  const auto length = model().config.model_max_length;
  const auto& where = model().text_encoder.placement();
  const auto tokens = tokenize(model().tokenizer, prompt, length, where.device);
  warn_of_cut(tokens.cut, length, progress);
  // Nothing attends to padding, so that it is left out.
  const auto ids = tokens.ids.slice(1, 0, tokens.mask.sum().item<int64_t>());
  return (*model().text_encoder)(ids, std::nullopt, where.compute, progress)[0].to(
      model().transformer.placement().compute);
}

Encodings Job::read_encodings(Progress& progress) {
  Encodings encodings{embed(progress), {}};
  if (!pictures_.empty()) progress.phase("vae encoder");
  for (const auto& picture : pictures_) encodings.conditions.push_back(encode_condition(picture, progress));
  forget_pictures();
  return encodings;
}

Tensor Job::encode_condition(const Picture& picture, Progress& progress) const {
  const auto most = picture.condition.is_video ? asked().frames : 1;
  auto frames = fit(picture, asked().height, asked().width, asked().image_fit, progress, most, Filter::bicubic);
  // A part of a batch is encoded as the beginning of one: a frame, and groups that become a latent frame each.
  const auto& config = model().vae_config;
  const auto rest = frames.size(0) % config.batch_frames(asked().frames);
  if (rest > 0) frames = frames.slice(0, 0, frames.size(0) - (rest - 1) % config.temporal.compression());
  const auto& where = model().vae_encoder.placement();
  return to_host((*model().vae_encoder)(to_video(frames).to(where.device, where.compute), progress).to(at::kFloat));
}

void Job::Given::put(const Tensor& frames, int64_t first, double strength) {
  if (strength == 0) return;  // nothing of it stays, and a frame that is wholly new begins as noise
  const auto length = std::min(frames.size(2), latents.size(2) - first);
  latents.narrow(2, first, length).copy_(frames.narrow(2, 0, length));
  edited.narrow(0, first, length).fill_(1 - strength);
}

std::optional<Job::Given> Job::given(int64_t clip, const Tensor& end_before, const Tensor& noise) const {
  Given given{noise.clone(), at::ones({noise.size(2)}, at::kFloat)};
  if (clip > 0) given.put(end_before, 0, 1);
  const auto& conditions = asked().conditions;
  for (size_t i = 0; i < conditions.size(); ++i) {
    const auto& latents = encodings().conditions[i];
    const auto strength = conditions[i].strength.value_or(1);
    if (clip == 0 && !is_at_end(conditions[i])) given.put(latents, 0, strength);
    if (clip + 1 == asked().loop && is_at_end(conditions[i])) given.put(latents, noise.size(2) - 1, strength);
  }
  if ((given.edited == 1).all().item<bool>()) return std::nullopt;
  return given;
}

Tensor Job::encode_end(const Tensor& clip, Progress& progress) const {
  const auto& config = model().vae_config;
  const auto batch = config.batch_frames(asked().frames), latents = config.batch_latents(asked().frames);
  const auto end = clip.slice(2, clip.size(2) - latents).to(model().vae.placement().compute);
  progress.phase("vae");
  const auto encoded = (*model().vae_encoder)(model().vae->decode(end, batch, progress), progress);
  progress.phase("transformer");
  return to_host(encoded.to(at::kFloat));
}

Denoised Job::denoise(Progress& progress, const Saving& saving, const Watch& watch) {
  const auto& where = model().transformer.placement();
  const auto& transformer = *model().transformer;
  at::Generator generator = at::detail::createCPUGenerator(asked().seed);
  const auto length = asked().frames, loop = asked().loop;
  RectifiedFlowScheduler scheduler(asked().steps, asked().height, asked().width, length);
  const auto& caption = encodings().caption;
  Captions captions{caption};
  if (asked().guided())  // as long as the prompt's
    captions.push_back(transformer.null_caption().slice(0, 0, caption.size(0)).to(where.compute));
  const Transformer::Video video{length == 1 ? kPictureFps : asked().fps, asked().height, asked().width};
  const Told told{transformer.prepare(captions, video, latents_shape_[3], latents_shape_[4]), asked().guidance,
                  where.compute, [this](const Step& step) { return asked().guides(step.index, step.count); }};
  const auto start = at::TensorOptions(at::kFloat).device(host_of(where.device));
  const auto draw = [&] { return draw_noise(latents_shape_, generator, start); };
  const Enhancer unused(asked().enhance, scheduler.steps(), model().config.depth);

  Clips clips;
  if (saving.from) clips.load(*saving.from, loop, at::empty(latents_shape_, start).to(where.device), unused, generator);
  auto resumed = saving.from;  // by the first clip that is made here
  for (auto clip = clips.count(); clip < loop; ++clip) {
    const auto of_clip = saving_of_run(saving, std::exchange(resumed, std::nullopt), clips.save(generator));
    const auto noise = clip == 0 ? initial_latents(asked().init_latents, latents_shape_, generator, start) : draw();
    const auto frames = given(clip, clip == 0 ? Tensor() : encode_end(clips.latents.back(), progress), noise);
    std::optional<GivenFrames> mask;
    if (frames) mask = GivenFrames{frames->edited.to(where.device), [&] { return draw().to(where.device); }};
    OpenSoraDenoiser denoiser(transformer, scheduler, told, mask);
    auto enhancer = unused;
    clips.latents.push_back(sample(denoiser, scheduler, (frames ? frames->latents : noise).to(where.device),
                                   {.enhance = enhancer,
                                    .grid = grid(),
                                    .generator = generator,
                                    .progress = progress,
                                    .saving = of_clip,
                                    .watch = watch,
                                    .cache = asked().cache,
                                    .steps_before = clip * scheduler.steps(),
                                    .steps_after = (loop - 1 - clip) * scheduler.steps()}));
    clips.enhancers.push_back(std::move(enhancer));
  }
  return {at::cat(clips.latents, 2), generator, clips.trace()};
}

std::vector<int64_t> Job::sample_shape() const {
  auto shape = latents_shape_;
  shape[2] = model().vae_config.latent_frames(sample_frames());
  return shape;
}

Tensor Job::decode_sample(const Tensor& latents, Progress& progress) const {
  const auto& where = model().vae.placement();
  return model().vae->decode(latents.to(where.device, where.compute), sample_frames(), progress);
}

int64_t Job::sample_frames() const { return std::min(asked().frames, model().vae_config.batch_frames(asked().frames)); }

Tensor Job::decode(const Denoised& denoised, Progress& progress) const {
  const auto frames = asked().frames;
  std::vector<Tensor> pictures;
  for (const auto& clip : denoised.latents.chunk(asked().loop, 2)) {
    const auto video = to_pictures(model().vae->decode(clip.to(model().vae.placement().compute), frames, progress));
    pictures.push_back(video.slice(0, pictures.empty() ? 0 : model().vae_config.batch_frames(frames)));
  }
  return at::cat(pictures);
}

}  // namespace eav::open_sora
