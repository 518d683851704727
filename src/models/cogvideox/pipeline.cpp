#include "models/cogvideox/pipeline.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "enhance/enhancer.h"
#include "models/parts.h"
#include "models/requests.h"
#include "text/prompt.h"
#include "text/t5_tokenizer.h"

namespace eav::cogvideox {
namespace {

constexpr double kEnhanceWeight = 3.4;  // the method's own for this family: examples of its authors' repository

// The transformer's working memory in units of one [B, L, C] tensor: the residual stream, its normed copy, queries,
// keys and values with one of them twice while it is normed, the attention's output and its projection.
constexpr int64_t kTransformerTensors = 9;

// The text encoder's, in units of one hidden layer of its feed-forward [L, hidden].
constexpr int64_t kTextTensors = 6;

// The scale of one step when it changes over time. Computed in double precision from steps minus timestep, as the
// reference does (the paper means the step's index; the reference passes the timestep).
double dynamic_guidance(double guidance, int64_t steps, int64_t timestep) {
  const auto n = static_cast<double>(steps);
  return 1 + guidance * ((1 - std::cos(std::numbers::pi * std::pow((n - static_cast<double>(timestep)) / n, 5.0))) / 2);
}

bool guided(const Request& request) { return *request.guidance > 1; }

}  // namespace

Pipeline::Pipeline(const std::filesystem::path& model)
    : model_(model),
      config_(TransformerConfig::read(JsonFile(model / "transformer" / "config.json"))),
      vae_config_(VaeConfig::read(JsonFile(model / "vae" / "config.json"))),
      text_config_(JsonFile(model / "text_encoder" / "config.json")),
      scheduler_config_(model / "scheduler" / "scheduler_config.json") {
  check_agree(model, "latent channels", config_.in_channels, "VAE", vae_config_.latent_channels);
  check_agree(model, "channels of text embeddings", config_.text_embed_dim, "text encoder", text_config_.channels);
}

Request Pipeline::resolve(const Request& asked) const {
  Request request = asked;
  apply_checkpoint_defaults(request, model_);
  const int64_t pixels = vae_config_.spatial_compression();
  if (!request.seed) request.seed = draw_seed();
  if (!request.width) request.width = config_.sample_width * pixels;
  if (!request.height) request.height = config_.sample_height * pixels;
  if (!request.frames) request.frames = config_.sample_frames;
  if (!request.fps) request.fps = config_.patch_size_t ? 16 : 8;
  if (!request.steps) request.steps = 50;
  if (!request.guidance) request.guidance = 6;
  if (!request.scheduler)
    request.scheduler =
        CogVideoXScheduler::kind_of(scheduler_config_) == CogVideoXScheduler::Kind::dpm ? "dpm" : "ddim";
  if (!request.vae_tiling) request.vae_tiling = VaeTiling::off;
  if (!request.enhance.weight) request.enhance.weight = kEnhanceWeight;

  check_common(request, config_.num_layers);
  check_has_only(request, "CogVideoX", {"dynamic guidance"});
  // CogVideoX 1.5's rotary table ends at the trained size; learned positions exist for that size alone.
  const bool bounded = config_.patch_size_t.has_value();
  check_size("width", *request.width, pixels * config_.patch_size, bounded ? config_.sample_width * pixels : 0);
  check_size("height", *request.height, pixels * config_.patch_size, bounded ? config_.sample_height * pixels : 0);
  if (config_.learned_positions &&
      (*request.width != config_.sample_width * pixels || *request.height != config_.sample_height * pixels))
    throw Error(fmt::format("{}x{} pixels: this checkpoint has learned positions and serves {}x{} alone",
                            *request.width, *request.height, config_.sample_width * pixels,
                            config_.sample_height * pixels));
  check_frames(*request.frames, 2 * vae_config_.temporal_compression_ratio);
  CogVideoXScheduler(scheduler_config_, CogVideoXScheduler::parse_kind(*request.scheduler))
      .set_timesteps(*request.steps);
  if (!request.init_latents.empty()) load_latents(request.init_latents, latent_shape(request));
  return request;
}

int64_t Pipeline::padding_frames(const Request& request) const {
  const int64_t frames = (*request.frames - 1) / vae_config_.temporal_compression_ratio + 1,
                multiple = config_.patch_size_t.value_or(1);
  return (multiple - frames % multiple) % multiple;
}

std::vector<int64_t> Pipeline::latent_shape(const Request& request) const {
  const int64_t frames = (*request.frames - 1) / vae_config_.temporal_compression_ratio + 1,
                pixels = vae_config_.spatial_compression();
  return {1, frames + padding_frames(request), config_.in_channels, *request.height / pixels, *request.width / pixels};
}

Grid Pipeline::grid(const Request& request) const {
  const auto shape = latent_shape(request);
  return {config_.token_frames(shape[1]), (shape[3] / config_.patch_size) * (shape[4] / config_.patch_size)};
}

MemoryPlan Pipeline::plan(const Request& request, const Placement& placement) const {
  const auto shape = latent_shape(request);
  const auto held = static_cast<int64_t>(c10::elementSize(placement.storage)),
             element = static_cast<int64_t>(c10::elementSize(placement.compute));
  const int64_t rows = guided(request) ? 2 : 1, channels = config_.channels();
  const int64_t tokens = config_.max_text_seq_length + grid(request).frames * grid(request).positions;
  const int64_t hidden = std::min<int64_t>(rows * tokens, FeedForward::kRows) * 4 * channels;
  // Where weights are held in another type, the largest is converted while it is used.
  const auto converted = [&](int64_t largest) { return held == element ? 0 : largest * element; };

  return {{{"text encoder",
            held_bytes(model_ / "text_encoder", kTransformersStem, placement, T5Encoder::unneeded_keys(),
                       {"encoder.block."}),
            kTextTensors * config_.max_text_seq_length * text_config_.hidden * element +
                converted(text_config_.channels * text_config_.hidden)},
           {"transformer",
            held_bytes(model_ / "transformer", kDiffusersStem, placement, Transformer::unneeded_keys(),
                       {"transformer_blocks."}),
            (kTransformerTensors * rows * tokens * channels + hidden) * element + converted(4 * channels * channels)},
           {"vae", held_bytes(model_ / "vae", kDiffusersStem, placement, Vae::unneeded_keys()),
            decode_memory(vae_config_, shape[1] - padding_frames(request), shape[3], shape[4],
                          request.vae_tiling == VaeTiling::on, element)}}};
}

Inspection Pipeline::inspect() const {
  return {"CogVideoX",
          {inspect_part(model_ / "text_encoder", kTransformersStem),
           inspect_part(model_ / "transformer", kDiffusersStem), inspect_part(model_ / "vae", kDiffusersStem),
           Part{"scheduler", scheduler_config_.get<std::string>("_class_name"), 0, {}, 0}},
          config_.num_layers,
          fmt::format("the self-attention of all {} transformer blocks, video tokens only", config_.num_layers),
          kEnhanceWeight};
}

Tensor Pipeline::embed(const std::string& prompt, Progress& progress) const {
  const auto tokens = tokenize(*tokenizer_, prompt, config_.max_text_seq_length);
  warn_of_cut(tokens.cut, config_.max_text_seq_length, progress);
  // The reference attends to the padding too.
  return (*text_encoder_)(tokens.ids.to(placement().device), std::nullopt, placement().compute,
                          progress);  // [1, text_len, text_embed_dim]
}

Conditioning Pipeline::encode(const Request& request, Progress& progress) {
  if (!tokenizer_) tokenizer_ = open_t5_tokenizer(model_ / "tokenizer");
  if (!text_encoder_) text_encoder_ = T5Encoder::open(model_ / "text_encoder", placement().policy());
  const auto prompt = embed(request.prompt, progress);
  return {guided(request) ? at::cat({embed(request.negative_prompt.value_or(""), progress), prompt})
                          : prompt};  // [B, text_len, text_embed_dim]
}

Tensor Pipeline::denoise(const Request& request, const Conditioning& conditioning, Progress& progress, Trace& trace) {
  if (!transformer_)
    transformer_ = load_part<Transformer>(model_ / "transformer", kDiffusersStem, placement().policy(), config_,
                                          Transformer::unneeded_keys());
  CogVideoXScheduler scheduler(scheduler_config_, CogVideoXScheduler::parse_kind(*request.scheduler));
  scheduler.set_timesteps(*request.steps);
  auto generator = at::detail::createCPUGenerator(*request.seed);
  auto latents = initial_latents(request, latent_shape(request), generator, placement().compute).to(placement().device);

  const auto inputs = transformer_->prepare(conditioning[0], latents.size(1), latents.size(3), latents.size(4));
  Enhancer enhancer(request.enhance, *request.steps, config_.num_layers);
  Step step{inputs.grid, enhancer, progress};
  for (size_t i = 0; i < scheduler.timesteps().size(); ++i) {
    const int64_t t = scheduler.timesteps()[i];
    enhancer.begin_step(static_cast<int64_t>(i));
    // Unconditional and conditional in one batch: they share the mean of their CFI.
    auto predicted =
        (*transformer_)(guided(request) ? at::cat({latents, latents}) : latents, t, inputs, step).to(at::kFloat);
    if (guided(request)) {
      const auto branches = predicted.chunk(2);
      const double scale =
          request.dynamic_guidance ? dynamic_guidance(*request.guidance, *request.steps, t) : *request.guidance;
      predicted = branches[0] + scale * (branches[1] - branches[0]);
    }
    latents = scheduler.step(predicted, i, latents, generator).to(placement().compute);
    progress.step(static_cast<int64_t>(i) + 1, *request.steps);
  }
  trace = enhancer.trace();
  return latents;
}

Tensor Pipeline::decode(const Request& request, const Tensor& latents, Progress& progress) {
  if (!vae_)
    vae_ = load_part<Vae>(model_ / "vae", kDiffusersStem, placement().policy(), vae_config_, Vae::unneeded_keys());
  const auto kept = latents.slice(1, padding_frames(request)).permute({0, 2, 1, 3, 4});  // [1, C, F, h, w]
  return to_pictures(
      vae_->decode((1 / vae_config_.scaling_factor) * kept, request.vae_tiling == VaeTiling::on, progress));
}

}  // namespace eav::cogvideox
