#include "models/ltx_video/pipeline.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>

#include "enhance/enhancer.h"
#include "models/conditions.h"
#include "models/parts.h"
#include "models/requests.h"
#include "text/prompt.h"
#include "text/t5_tokenizer.h"

namespace eav::ltx_video {
namespace {

constexpr double kEnhanceWeight = 4;  // that of both known implementations for this family
constexpr double kImageCondNoiseScale = 0.15;
constexpr double kTrainSteps = 1000;  // timesteps are parts of these

// The transformer's working memory in units of one [B, L, C] tensor: the residual stream, its norm in three steps,
// queries, keys, values, the attention's output and its projection, and one for what kernels hold.
constexpr int64_t kTransformerTensors = 10;

// The text encoder's, in units of one hidden layer of its feed-forward [L, hidden].
constexpr int64_t kTextTensors = 6;

Tiles tiles_of(const Request& request) {
  return {.space = request.vae_tiling == VaeTiling::on, .time = request.vae_framewise};
}

bool guided(const Request& request) { return *request.guidance > 1; }

// Gives what guidance made the spread that the conditional prediction has, as far as `amount` says (arXiv 2305.08891,
// section 3.4).
Tensor rescaled(const Tensor& guided, const Tensor& conditional, double amount) {
  const auto spread = conditional.std() / guided.std();
  return amount * (guided * spread) + (1 - amount) * guided;
}

// Noise levels of LTXConditionPipeline: the first half of the steps takes little away, the second more and more.
Tensor linear_quadratic_sigmas(int64_t steps) {
  constexpr double kThreshold = 0.025;  // of noise that the linear half takes away
  const auto sigmas = at::ones({steps}, at::kDouble);
  if (steps < 2) return sigmas;
  const auto linear = static_cast<double>(steps / 2), quadratic = static_cast<double>(steps - steps / 2);
  const double difference = linear - kThreshold * static_cast<double>(steps);
  const double a = difference / (linear * quadratic * quadratic);
  const double b = kThreshold / linear - 2 * difference / (quadratic * quadratic);
  const double c = a * linear * linear;
  for (int64_t i = 1; i < steps; ++i) {
    const auto x = static_cast<double>(i);
    sigmas[i] = 1 - (x < linear ? x * kThreshold / linear : a * x * x + b * x + c);
  }
  return sigmas;
}

}  // namespace

Parts Parts::of_folder(const std::filesystem::path& model) {
  const auto part = [&](const char* name) {
    return CheckpointSource{.path = model / name, .stem = kDiffusersStem, .rename = {}};
  };
  return {.model = model,
          .conditional = JsonFile(model / "model_index.json").get<std::string>("_class_name") == "LTXConditionPipeline",
          .transformer_config = JsonFile(model / "transformer" / "config.json"),
          .vae_config = JsonFile(model / "vae" / "config.json"),
          .scheduler_config = JsonFile(model / "scheduler" / "scheduler_config.json"),
          .transformer = part("transformer"),
          .vae = part("vae"),
          .text_encoder = model / "text_encoder",
          .tokenizer = model / "tokenizer"};
}

Pipeline::Pipeline(Parts parts)
    : parts_(std::move(parts)),
      config_(TransformerConfig::read(parts_.transformer_config)),
      vae_config_(VaeConfig::read(parts_.vae_config)),
      text_config_(JsonFile(parts_.text_encoder / "config.json")) {
  const auto& model = parts_.model;
  check_agree(model, "latent channels", config_.in_channels, "VAE", vae_config_.latent_channels);
  check_agree(model, "channels of text embeddings", config_.caption_channels, "text encoder", text_config_.channels);
}

Request Pipeline::resolve(const Request& asked) const {
  Request request = asked;
  apply_checkpoint_defaults(request, parts_.model);
  if (!request.seed) request.seed = draw_seed();
  if (!request.width) request.width = 704;
  if (!request.height) request.height = 512;
  if (!request.frames) request.frames = 161;
  if (!request.fps) request.fps = 25;
  if (!request.timesteps.empty()) {
    const auto count = std::ssize(request.timesteps);
    if (asked.steps && *asked.steps != count)
      throw Error(fmt::format("there are {} timesteps, and {} steps: leave one of the two out", count, *asked.steps));
    request.steps = count;
    if (!std::ranges::is_sorted(request.timesteps, std::greater_equal()) || request.timesteps[0] > kTrainSteps ||
        request.timesteps.back() <= 0)
      throw Error(fmt::format("the timesteps are {}, expected numbers from {} downwards and above 0",
                              fmt::join(request.timesteps, ", "), kTrainSteps));
  }
  if (!request.steps) request.steps = 50;
  if (!request.guidance) request.guidance = 3;
  if (!request.guidance_rescale) request.guidance_rescale = 0;
  if (!request.scheduler) request.scheduler = "euler";
  if (!request.image_fit) request.image_fit = ImageFit::stretch;
  if (!request.vae_tiling) request.vae_tiling = VaeTiling::automatic;
  if (!request.enhance.weight) request.enhance.weight = kEnhanceWeight;
  std::vector<std::string> has{"flow shift", "guidance rescale", "image or video to condition on", "frame-wise VAE"};
  if (parts_.conditional) {
    if (!request.denoise_strength) request.denoise_strength = 1;
    if (!request.image_cond_noise_scale) request.image_cond_noise_scale = kImageCondNoiseScale;
    has.insert(has.end(), {"timesteps to choose", "denoise strength", "noise on conditions"});
  }
  if (vae_config_.timestep_conditioning) {
    if (!request.decode_timestep) request.decode_timestep = 0.05;
    if (!request.decode_noise_scale) request.decode_noise_scale = 0.025;
    has.insert(has.end(), {"decode timestep", "decode noise scale"});
  }

  check_common(request, config_.num_layers);
  check_has_only(request, "this LTX-Video", has);
  check_fraction("guidance rescale", request.guidance_rescale);
  check_fraction("the decode timestep", request.decode_timestep);
  check_fraction("the decode noise scale", request.decode_noise_scale);
  check_euler(request, "LTX-Video");
  check_size("width", *request.width, vae_config_.spatial_compression());
  check_size("height", *request.height, vae_config_.spatial_compression());
  check_frames(*request.frames, vae_config_.temporal_compression());
  check_fraction("the noise on conditions", request.image_cond_noise_scale);
  check_fraction("the denoise strength", request.denoise_strength);
  check_conditions(request);
  scheduler(request);
  if (parts_.conditional && skipped_steps(request) >= *request.steps)
    throw Error(
        fmt::format("a denoise strength of {} leaves none of {} steps", *request.denoise_strength, *request.steps));
  if (!request.init_latents.empty()) {
    if (parts_.conditional && *request.denoise_strength == 1)
      throw Error("this LTX-Video takes initial latents to change them: give a --denoise-strength below 1");
    load_latents(request.init_latents, latents_shape(request));
  }
  return request;
}

void Pipeline::check_conditions(const Request& request) const {
  if (request.conditions.empty()) return;
  encoder_config();
  eav::check_conditions(request);
  if (!parts_.conditional) {
    if (request.conditions.size() > 1 || request.conditions[0].is_video)
      throw Error("this LTX-Video takes a single image to begin with: several, and videos, need one from 0.9.5 on");
    if (request.conditions[0].frame_index.value_or(0) != 0 || request.conditions[0].strength.value_or(1) != 1)
      throw Error("this LTX-Video keeps an image as its first frame: leave frame index and strength out");
  }
  for (const auto& condition : request.conditions)
    if (const auto first = condition.frame_index.value_or(0); first < 0 || first >= *request.frames)
      throw Error(fmt::format("'{}' is to begin at frame {}, but the video has frames 0 to {}", condition.file.string(),
                              first, *request.frames - 1));
}

FlowMatchEulerScheduler Pipeline::scheduler(const Request& request) const {
  FlowMatchEulerScheduler scheduler(parts_.scheduler_config, request.flow_shift);
  if (request.flow_shift && scheduler.shifts_dynamically())
    throw Error("this LTX-Video chooses its flow shift by the size of the video: leave that option out");
  const auto n = *request.steps;
  if (!request.timesteps.empty())
    scheduler.set_timesteps(at::tensor(request.timesteps, at::kDouble));
  else if (parts_.conditional)
    scheduler.set_timesteps(linear_quadratic_sigmas(n).to(at::kFloat) * kTrainSteps);
  else
    scheduler.set_sigmas(at::linspace(1, 1 / static_cast<double>(n), n, at::kDouble), size(request).tokens());
  return scheduler;
}

int64_t Pipeline::skipped_steps(const Request& request) const {
  const auto steps = *request.steps;
  return parts_.conditional ? steps - static_cast<int64_t>(static_cast<double>(steps) * *request.denoise_strength) : 0;
}

LatentSize Pipeline::size(const Request& request) const {
  const auto pixels = vae_config_.spatial_compression(), frames = vae_config_.temporal_compression();
  return {.channels = config_.in_channels,
          .frames = (*request.frames - 1) / frames + 1,
          .height = *request.height / pixels,
          .width = *request.width / pixels,
          .frame_ratio = frames,
          .pixel_ratio = pixels,
          .fps = *request.fps};
}

std::vector<int64_t> Pipeline::latents_shape(const Request& request) const {
  const auto s = size(request);
  if (parts_.conditional) return {1, s.channels, s.frames, s.height, s.width};
  return {1, s.tokens(), s.channels};
}

Grid Pipeline::grid(const Request& request) const {
  const auto s = size(request);
  return {s.frames, s.height * s.width};
}

MemoryPlan Pipeline::plan(const Request& request, const Placement& placement) const {
  const auto s = size(request);
  const auto held = static_cast<int64_t>(c10::elementSize(placement.storage)),
             element = static_cast<int64_t>(c10::elementSize(placement.compute));
  int64_t tokens = s.tokens();
  for (const auto& condition : request.conditions)
    if (condition.frame_index.value_or(0) != 0) tokens += (condition.is_video ? 2 : 1) * s.height * s.width;
  const int64_t rows = guided(request) ? 2 : 1, channels = config_.channels();
  const int64_t hidden = std::min<int64_t>(rows * tokens, FeedForward::kRows) * 4 * channels;
  // Where weights are held in another type, the largest is converted while it is used.
  const auto converted = [&](int64_t largest) { return held == element ? 0 : largest * element; };
  MemoryPlan::Phase text{
      "text encoder",
      held_bytes(parts_.text_encoder, kTransformersStem, placement, T5Encoder::unneeded_keys(), {"encoder.block."}),
      kTextTensors * caption_tokens() * text_config_.hidden * element +
          converted(text_config_.channels * text_config_.hidden)};
  if (!request.conditions.empty()) {  // the VAE's encoder is loaded beside it
    const bool clips = std::ranges::any_of(request.conditions, &Condition::is_video);
    text.weights += held_bytes(parts_.vae, placement, VaeEncoder::unneeded_keys());
    text.activations =
        std::max(text.activations, encode_memory(encoder_config(), clips ? *request.frames : 1, *request.height,
                                                 *request.width, tiles_of(request), element));
  }
  return {{text,
           {"transformer", held_bytes(parts_.transformer, placement, {}, {"transformer_blocks."}),
            (kTransformerTensors * rows * tokens * channels + hidden) * element + converted(4 * channels * channels)},
           {"vae", held_bytes(parts_.vae, placement, Vae::unneeded_keys()),
            decode_memory(vae_config_, s.frames, s.height, s.width, tiles_of(request), element)}}};
}

Inspection Pipeline::inspect() const {
  return {"LTX-Video",
          {inspect_part("text_encoder", JsonFile(parts_.text_encoder / "config.json"),
                        {.path = parts_.text_encoder, .stem = kTransformersStem, .rename = {}}),
           inspect_part("transformer", parts_.transformer_config, parts_.transformer),
           inspect_part("vae", parts_.vae_config, parts_.vae),
           Part{"scheduler", parts_.scheduler_config.get<std::string>("_class_name"), 0, {}, 0}},
          config_.num_layers,
          fmt::format("the self-attention of all {} transformer blocks", config_.num_layers),
          kEnhanceWeight};
}

Caption Pipeline::embed(const std::string& prompt, Progress& progress) const {
  const auto tokens = tokenize(*tokenizer_, prompt, caption_tokens());
  warn_of_cut(tokens.cut, caption_tokens(), progress);
  const auto device = placement().device;
  // The video does not attend to padding; the caption's tokens among themselves do, except in LTXConditionPipeline.
  const auto mask = parts_.conditional ? std::optional(tokens.mask.to(device)) : std::nullopt;
  return {(*text_encoder_)(tokens.ids.to(device), mask, placement().compute, progress), tokens.mask.to(device)};
}

Conditioning Pipeline::encode(const Request& request, Progress& progress) {
  if (!tokenizer_) tokenizer_ = open_t5_tokenizer(parts_.tokenizer);
  if (!text_encoder_) text_encoder_ = T5Encoder::open(parts_.text_encoder, placement().policy());
  const auto prompt = embed(request.prompt, progress);
  Conditioning conditioning{prompt.tokens, prompt.mask};
  if (guided(request)) {
    const auto negative = embed(request.negative_prompt.value_or(""), progress);
    conditioning = {at::cat({negative.tokens, prompt.tokens}), at::cat({negative.mask, prompt.mask})};
  }
  if (request.conditions.empty()) return conditioning;
  progress.phase("vae encoder");
  if (!vae_encoder_)
    vae_encoder_ =
        load_part<VaeEncoder>(parts_.vae, placement().policy(), encoder_config(), VaeEncoder::unneeded_keys());
  for (const auto& condition : request.conditions)
    std::ranges::move(encode_condition(condition, request, progress), std::back_inserter(conditioning));
  return conditioning;
}

VaeEncoderConfig Pipeline::encoder_config() const { return VaeEncoderConfig::read(parts_.vae_config); }

std::vector<Tensor> Pipeline::encode_condition(const Condition& condition, const Request& request, Progress& progress) {
  const auto first = condition.frame_index.value_or(0), ratio = vae_config_.temporal_compression();
  auto frames = load_condition(condition, request, progress, *request.frames - first);
  frames = frames.slice(0, 0, (frames.size(0) - 1) / ratio * ratio + 1);
  const auto video = to_video(frames).to(placement().device, placement().compute);
  const auto [mean, std] = (*vae_encoder_)(video, tiles_of(request), progress);
  return {mean.cpu(), std.cpu()};
}

Start Pipeline::start(const Request& request, const Conditioning& conditioning, at::Generator& generator) const {
  const auto s = size(request);
  std::vector<EncodedCondition> conditions;
  for (size_t i = 0; i < request.conditions.size(); ++i) {
    const auto& condition = request.conditions[i];
    conditions.push_back({conditioning[2 + 2 * i], conditioning[3 + 2 * i], condition.frame_index.value_or(0),
                          condition.strength.value_or(1)});
  }
  const auto given = [&] { return load_latents(request.init_latents, latents_shape(request)).to(at::kFloat); };
  if (!parts_.conditional && !request.init_latents.empty())
    return start_from_latents(given(), s, conditions.empty() ? 0 : 1);
  if (!parts_.conditional && !conditions.empty()) return start_from_image(conditions[0], s, generator);

  auto latents = at::randn({1, s.channels, s.frames, s.height, s.width}, generator, at::TensorOptions(at::kFloat));
  if (!parts_.conditional) return start_from_latents(pack(latents), s);
  if (!request.init_latents.empty()) {
    const auto sigma = scheduler(request).sigmas()[skipped_steps(request)];
    latents = sigma * latents + (1 - sigma) * given();
  }
  return start_from_conditions(latents, conditions, s, generator);
}

Tensor Pipeline::denoise(const Request& request, const Conditioning& conditioning, Progress& progress, Trace& trace) {
  const auto& where = placement();
  if (!transformer_) transformer_ = load_part<Transformer>(parts_.transformer, where.policy(), config_, {});
  const auto schedule = scheduler(request);
  generator_ = at::detail::createCPUGenerator(*request.seed);
  const auto begin = start(request, conditioning, generator_);
  const auto inputs = transformer_->prepare({conditioning[0], conditioning[1]}, begin.positions, begin.conditions);

  const auto of_tokens = [&](const Tensor& of_runs) {  // [runs] -> [L]
    return of_runs.repeat_interleave(at::tensor(begin.tokens)).to(where.device);
  };
  const auto strengths = at::tensor(begin.strengths, at::kFloat);  // [runs]
  const auto kept = of_tokens(strengths).unsqueeze(1);             // [L, 1]
  const bool keeps = !request.conditions.empty();
  const double noise_scale = request.image_cond_noise_scale.value_or(0);

  // Latents stay in float32 between the steps, whatever the model computes in.
  auto latents = begin.latents.to(where.device);  // [1, L, in_channels]
  const auto first = latents;
  const auto skipped = skipped_steps(request), steps = *request.steps - skipped;
  Enhancer enhancer(request.enhance, steps, config_.num_layers);
  Step step{grid(request), enhancer, progress};
  for (int64_t i = 0; i < steps; ++i) {
    enhancer.begin_step(i);
    const auto t = schedule.timesteps().narrow(0, skipped + i, 1);
    const auto level = (t / kTrainSteps).to(where.device);
    if (keeps && noise_scale > 0) {  // helps motion begin at frames that are kept whole
      const auto noise = at::randn(latents.sizes(), generator_, at::TensorOptions(at::kFloat)).to(where.device);
      latents = at::where(kept > 1 - 1e-6, first + noise_scale * noise * level.square(), latents);
    }
    const auto timesteps = at::minimum(t, (1 - strengths) * kTrainSteps);  // [runs]
    // Unconditional and conditional in one batch: they share the mean of their CFI.
    const auto input = (guided(request) ? at::cat({latents, latents}) : latents).to(where.compute);
    auto velocity = (*transformer_)(input, {timesteps.to(where.device), begin.tokens}, inputs, step).to(at::kFloat);
    if (guided(request)) {
      const auto branches = velocity.chunk(2);
      velocity = branches[0] + *request.guidance * (branches[1] - branches[0]);
      if (*request.guidance_rescale > 0) velocity = rescaled(velocity, branches[1], *request.guidance_rescale);
    }
    const auto next = parts_.conditional ? schedule.step(velocity, of_tokens(timesteps), latents)
                                         : schedule.step(velocity, skipped + i, latents);
    latents = keeps ? at::where(level - 1e-6 < 1 - kept, next, latents) : next;
    progress.step(i + 1, steps);
  }
  trace = enhancer.trace();
  latents = latents.slice(1, begin.conditions);
  return parts_.conditional ? unpack(latents, size(request)) : latents;
}

Tensor Pipeline::decode(const Request& request, const Tensor& latents, Progress& progress) {
  const auto& where = placement();
  if (!vae_) vae_ = load_part<Vae>(parts_.vae, where.policy(), vae_config_, Vae::unneeded_keys());
  auto z = vae_->denormalize(parts_.conditional ? latents : unpack(latents, size(request))).to(where.compute);
  std::optional<Tensor> timestep;
  std::optional<at::Generator> injected;
  if (vae_config_.timestep_conditioning) {
    const auto noise = at::randn(z.sizes(), generator_, at::TensorOptions(z.scalar_type())).to(where.device);
    // The scale is rounded to the model's type before it is used, as the reference does it.
    const auto scale = at::full({1, 1, 1, 1, 1}, *request.decode_noise_scale, z.options());
    z = (1 - scale) * z + scale * noise;
    timestep = at::full({1}, *request.decode_timestep, z.options());
    injected = at::detail::createCPUGenerator(*request.seed);  // for noise inside the decoder
  }
  return to_pictures(vae_->decode(z, timestep, tiles_of(request), injected, progress));
}

}  // namespace eav::ltx_video
