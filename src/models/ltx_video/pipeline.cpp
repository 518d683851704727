#include "models/ltx_video/pipeline.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include "enhance/enhancer.h"
#include "models/parts.h"
#include "models/requests.h"
#include "text/prompt.h"
#include "text/t5_tokenizer.h"

namespace eav::ltx_video {
namespace {

constexpr double kEnhanceWeight = 4;  // that of both known implementations for this family
constexpr int64_t kCaptionTokens = 128;

// The transformer's working memory in units of one [B, L, C] tensor: the residual stream, its norm in three steps,
// queries, keys, values, the attention's output and its projection, and one for what kernels hold.
constexpr int64_t kTransformerTensors = 10;

// The text encoder's, in units of one hidden layer of its feed-forward [L, hidden].
constexpr int64_t kTextTensors = 6;

bool guided(const Request& request) { return *request.guidance > 1; }

// Gives what guidance made the spread that the conditional prediction has, as far as `amount` says (arXiv 2305.08891,
// section 3.4).
Tensor rescaled(const Tensor& guided, const Tensor& conditional, double amount) {
  const auto spread = conditional.std() / guided.std();
  return amount * (guided * spread) + (1 - amount) * guided;
}

// [1, C, F, h, w] -> [1, F*h*w, C]
Tensor pack(const Tensor& latents) { return latents.flatten(2).transpose(1, 2).contiguous(); }

}  // namespace

Pipeline::Pipeline(const std::filesystem::path& model)
    : model_(model),
      config_(TransformerConfig::read(JsonFile(model / "transformer" / "config.json"))),
      vae_config_(VaeConfig::read(JsonFile(model / "vae" / "config.json"))),
      text_config_(JsonFile(model / "text_encoder" / "config.json")),
      scheduler_config_(model / "scheduler" / "scheduler_config.json") {
  check_agree(model, "latent channels", config_.in_channels, "VAE", vae_config_.latent_channels);
  check_agree(model, "channels of text embeddings", config_.caption_channels, "text encoder", text_config_.channels);
}

Request Pipeline::resolve(const Request& asked) const {
  Request request = asked;
  apply_checkpoint_defaults(request, model_);
  if (!request.seed) request.seed = draw_seed();
  if (!request.width) request.width = 704;
  if (!request.height) request.height = 512;
  if (!request.frames) request.frames = 161;
  if (!request.fps) request.fps = 25;
  if (!request.steps) request.steps = 50;
  if (!request.guidance) request.guidance = 3;
  if (!request.guidance_rescale) request.guidance_rescale = 0;
  if (!request.scheduler) request.scheduler = "euler";
  if (!request.vae_tiling) request.vae_tiling = VaeTiling::automatic;
  if (!request.enhance.weight) request.enhance.weight = kEnhanceWeight;
  if (vae_config_.timestep_conditioning) {
    if (!request.decode_timestep) request.decode_timestep = 0.05;
    if (!request.decode_noise_scale) request.decode_noise_scale = 0.025;
  } else {
    check_has_none(request, "the VAE of this LTX-Video", {"decode timestep", "decode noise scale"});
  }

  check_common(request, config_.num_layers);
  check_has_none(request, "LTX-Video", {"true guidance", "dynamic guidance", "kinds of blocks"});
  check_fraction("guidance rescale", request.guidance_rescale);
  check_fraction("the decode timestep", request.decode_timestep);
  check_fraction("the decode noise scale", request.decode_noise_scale);
  check_euler(request, "LTX-Video");
  check_size("width", *request.width, vae_config_.spatial_compression());
  check_size("height", *request.height, vae_config_.spatial_compression());
  check_frames(*request.frames, vae_config_.temporal_compression());
  scheduler(request);
  if (!request.init_latents.empty()) load_latents(request.init_latents, packed_shape(request));
  return request;
}

FlowMatchEulerScheduler Pipeline::scheduler(const Request& request) const {
  FlowMatchEulerScheduler scheduler(scheduler_config_, request.flow_shift);
  if (request.flow_shift && scheduler.shifts_dynamically())
    throw Error("this LTX-Video chooses its flow shift by the size of the video: leave that option out");
  const auto n = *request.steps;
  scheduler.set_sigmas(at::linspace(1, 1 / static_cast<double>(n), n, at::kDouble), packed_shape(request)[1]);
  return scheduler;
}

Transformer::Size Pipeline::size(const Request& request) const {
  const auto pixels = vae_config_.spatial_compression(), frames = vae_config_.temporal_compression();
  return {.frames = (*request.frames - 1) / frames + 1,
          .height = *request.height / pixels,
          .width = *request.width / pixels,
          .frame_scale = static_cast<double>(frames) / *request.fps,
          .pixel_scale = static_cast<double>(pixels)};
}

std::vector<int64_t> Pipeline::packed_shape(const Request& request) const {
  const auto s = size(request);
  return {1, s.frames * s.height * s.width, config_.in_channels};
}

Grid Pipeline::grid(const Request& request) const {
  const auto s = size(request);
  return {s.frames, s.height * s.width};
}

MemoryPlan Pipeline::plan(const Request& request, const Placement& placement) const {
  const auto s = size(request);
  const auto held = static_cast<int64_t>(c10::elementSize(placement.storage)),
             element = static_cast<int64_t>(c10::elementSize(placement.compute));
  const int64_t rows = guided(request) ? 2 : 1, channels = config_.channels(), tokens = packed_shape(request)[1];
  const int64_t hidden = std::min<int64_t>(rows * tokens, FeedForward::kRows) * 4 * channels;
  // Where weights are held in another type, the largest is converted while it is used.
  const auto converted = [&](int64_t largest) { return held == element ? 0 : largest * element; };
  return {{{"text encoder",
            held_bytes(model_ / "text_encoder", kTransformersStem, placement, T5Encoder::unneeded_keys(),
                       {"encoder.block."}),
            kTextTensors * kCaptionTokens * text_config_.hidden * element +
                converted(text_config_.channels * text_config_.hidden)},
           {"transformer", held_bytes(model_ / "transformer", kDiffusersStem, placement, {}, {"transformer_blocks."}),
            (kTransformerTensors * rows * tokens * channels + hidden) * element + converted(4 * channels * channels)},
           {"vae", held_bytes(model_ / "vae", kDiffusersStem, placement, Vae::unneeded_keys()),
            decode_memory(vae_config_, s.frames, s.height, s.width, request.vae_tiling == VaeTiling::on, element)}}};
}

Inspection Pipeline::inspect() const {
  return {"LTX-Video",
          {inspect_part(model_ / "text_encoder", kTransformersStem),
           inspect_part(model_ / "transformer", kDiffusersStem), inspect_part(model_ / "vae", kDiffusersStem),
           Part{"scheduler", scheduler_config_.get<std::string>("_class_name"), 0, {}, 0}},
          config_.num_layers,
          fmt::format("the self-attention of all {} transformer blocks", config_.num_layers),
          kEnhanceWeight};
}

Caption Pipeline::embed(const std::string& prompt, Progress& progress) const {
  const auto tokens = tokenize(*tokenizer_, prompt, kCaptionTokens);
  if (!tokens.cut.empty())
    progress.warning(
        fmt::format("the prompt is longer than the {} tokens that "
                    "this model takes; this was cut: \"{}\"",
                    kCaptionTokens, tokens.cut));
  // Among themselves, tokens attend to the padding too; the video does not.
  return {(*text_encoder_)(tokens.ids.to(placement().device), std::nullopt, placement().compute, progress),
          tokens.mask.to(placement().device)};
}

Conditioning Pipeline::encode(const Request& request, Progress& progress) {
  if (!tokenizer_) tokenizer_ = open_t5_tokenizer(model_ / "tokenizer");
  if (!text_encoder_) text_encoder_ = T5Encoder::open(model_ / "text_encoder", placement().policy());
  const auto prompt = embed(request.prompt, progress);
  if (!guided(request)) return {prompt.tokens, prompt.mask};
  const auto negative = embed(request.negative_prompt.value_or(""), progress);
  return {at::cat({negative.tokens, prompt.tokens}), at::cat({negative.mask, prompt.mask})};
}

Tensor Pipeline::initial_latents(const Request& request, at::Generator& generator) const {
  if (!request.init_latents.empty()) return load_latents(request.init_latents, packed_shape(request)).to(at::kFloat);
  const auto s = size(request);
  return pack(
      at::randn({1, config_.in_channels, s.frames, s.height, s.width}, generator, at::TensorOptions(at::kFloat)));
}

Tensor Pipeline::denoise(const Request& request, const Conditioning& conditioning, Progress& progress, Trace& trace) {
  const auto& where = placement();
  if (!transformer_)
    transformer_ = load_part<Transformer>(model_ / "transformer", kDiffusersStem, placement().policy(), config_, {});
  const auto schedule = scheduler(request);
  auto generator = at::detail::createCPUGenerator(*request.seed);
  // Latents stay in float32 between the steps, whatever the model computes in.
  auto latents = initial_latents(request, generator).to(where.device);  // [1, T*S, in_channels]

  const auto inputs = transformer_->prepare({conditioning[0], conditioning[1]}, size(request));
  Enhancer enhancer(request.enhance, *request.steps, config_.num_layers);
  Step step{inputs.grid, enhancer, progress};
  for (int64_t i = 0; i < *request.steps; ++i) {
    enhancer.begin_step(i);
    const auto timestep = schedule.timesteps().narrow(0, i, 1).to(where.device);
    // Unconditional and conditional in one batch: they share the mean of their CFI.
    const auto input = (guided(request) ? at::cat({latents, latents}) : latents).to(where.compute);
    auto velocity = (*transformer_)(input, timestep, inputs, step).to(at::kFloat);
    if (guided(request)) {
      const auto branches = velocity.chunk(2);
      velocity = branches[0] + *request.guidance * (branches[1] - branches[0]);
      if (*request.guidance_rescale > 0) velocity = rescaled(velocity, branches[1], *request.guidance_rescale);
    }
    latents = schedule.step(velocity, i, latents);
    progress.step(i + 1, *request.steps);
  }
  trace = enhancer.trace();
  return latents;
}

Tensor Pipeline::decode(const Request& request, const Tensor& latents, Progress& progress) {
  const auto& where = placement();
  if (!vae_)
    vae_ = load_part<Vae>(model_ / "vae", kDiffusersStem, placement().policy(), vae_config_, Vae::unneeded_keys());
  const auto s = size(request);
  const auto unpacked = latents.transpose(1, 2).reshape({1, config_.in_channels, s.frames, s.height, s.width});
  auto z = vae_->denormalize(unpacked).to(where.compute);
  std::optional<Tensor> timestep;
  std::optional<at::Generator> injected;
  if (vae_config_.timestep_conditioning) {
    // The generator goes on from where it was when the first latents were drawn.
    auto generator = at::detail::createCPUGenerator(*request.seed);
    initial_latents(request, generator);
    const auto noise = at::randn(z.sizes(), generator, at::TensorOptions(z.scalar_type())).to(where.device);
    // The scale is rounded to the model's type before it is used, as the reference does it.
    const auto scale = at::full({1, 1, 1, 1, 1}, *request.decode_noise_scale, z.options());
    z = (1 - scale) * z + scale * noise;
    timestep = at::full({1}, *request.decode_timestep, z.options());
    injected = at::detail::createCPUGenerator(*request.seed);  // for noise inside the decoder
  }
  return to_pictures(vae_->decode(z, timestep, request.vae_tiling == VaeTiling::on, injected, progress));
}

}  // namespace eav::ltx_video
