#include "models/hunyuan_video/pipeline.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <cmath>

#include "enhance/enhancer.h"
#include "models/parts.h"
#include "models/requests.h"
#include "text/clip_tokenizer.h"
#include "text/llama_tokenizer.h"
#include "text/prompt.h"

namespace eav::hunyuan_video {
namespace {

constexpr double kEnhanceWeight = 4;  // the method's own for this family: examples of its authors' repository

// The LLaMA was instructed like this when the model was trained; the prompt stands in the middle. Of its embeddings,
// those of the instruction are cut off.
constexpr const char* kBeforePrompt =
    "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following aspects: "
    "1. The main content and theme of the video."
    "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects."
    "3. Actions, events, behaviors temporal relationships, physical movement changes of the objects."
    "4. background environment, light, style and atmosphere."
    "5. camera angles, movements, and transitions used in the video:<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n";
constexpr const char* kAfterPrompt = "<|eot_id|>";
constexpr int64_t kInstructionTokens = 95;
constexpr int64_t kPromptTokens = 256;      // the most that are left of a prompt
constexpr int64_t kClipTokens = 77;         // of CLIP's own prompt
constexpr int64_t kSkippedLlamaLayers = 2;  // the last ones

// The transformer's working memory in units of one [L, C] tensor: the residual stream, its normed copy, queries, keys,
// values, the attention's output and its projection, and one for what kernels hold. Where ATen norms queries and keys,
// its copies come on top.
constexpr int64_t kTransformerTensors = 8;
constexpr int64_t kNormTensors = 5;

// The text encoder's, in units of one hidden layer of its feed-forward [L, hidden].
constexpr int64_t kTextTensors = 6;

bool truly_guided(const Request& request) { return *request.true_guidance > 1; }

}  // namespace

Pipeline::Pipeline(const std::filesystem::path& model)
    : model_(model),
      config_(TransformerConfig::read(JsonFile(model / "transformer" / "config.json"))),
      vae_config_(VaeConfig::read(JsonFile(model / "vae" / "config.json"))),
      llama_config_(JsonFile(model / "text_encoder" / "config.json")),
      clip_config_(JsonFile(model / "text_encoder_2" / "config.json")),
      scheduler_config_(model / "scheduler" / "scheduler_config.json") {
  check_agree(model, "latent channels", config_.in_channels, "VAE", vae_config_.latent_channels);
  check_agree(model, "channels of text embeddings", config_.text_embed_dim, "LLaMA", llama_config_.channels);
  check_agree(model, "channels of pooled embeddings", config_.pooled_projection_dim, "CLIP", clip_config_.channels);
  if (llama_config_.layers <= kSkippedLlamaLayers)
    throw Error(fmt::format("{}: the LLaMA has {} layers, of which the last {} are left out: too few", model.string(),
                            llama_config_.layers, kSkippedLlamaLayers));
}

Request Pipeline::resolve(const Request& asked) const {
  Request request = asked;
  apply_checkpoint_defaults(request, model_);
  const int64_t pixels = vae_config_.spatial_compression();
  if (!request.seed) request.seed = draw_seed();
  if (!request.width) request.width = 1280;
  if (!request.height) request.height = 720;
  if (!request.frames) request.frames = 129;
  if (!request.fps) request.fps = 24;
  if (!request.steps) request.steps = 50;
  if (!request.guidance) request.guidance = 6;
  if (!request.true_guidance) request.true_guidance = 1;
  if (!request.scheduler) request.scheduler = "euler";
  if (!request.vae_tiling) request.vae_tiling = VaeTiling::automatic;
  if (!request.enhance.weight) request.enhance.weight = kEnhanceWeight;

  check_common(request, config_.layers());
  check_has_only(request, "HunyuanVideo", {"true guidance", "flow shift", "kinds of blocks"});
  check_euler(request, "HunyuanVideo");
  if (!std::isfinite(*request.true_guidance) || *request.true_guidance < 0)
    throw Error(fmt::format("true guidance is {}, expected a number of at least 0 (at most 1 turns it off)",
                            *request.true_guidance));
  if (truly_guided(request) && !request.negative_prompt)
    throw Error(fmt::format("true guidance of {} needs a negative prompt, which may be empty", *request.true_guidance));
  check_size("width", *request.width, pixels * config_.patch_size);
  check_size("height", *request.height, pixels * config_.patch_size);
  check_frames(*request.frames, vae_config_.temporal_compression_ratio);
  if (latent_shape(request)[2] % config_.patch_size_t != 0)
    throw Error(fmt::format("frames is {}: its {} latent frames are no multiple of the {} that make a token",
                            *request.frames, latent_shape(request)[2], config_.patch_size_t));
  request.flow_shift = scheduler(request).shift();
  enhancement(request);
  if (!request.init_latents.empty()) load_latents(request.init_latents, latent_shape(request));
  return request;
}

FlowMatchEulerScheduler Pipeline::scheduler(const Request& request) const {
  FlowMatchEulerScheduler scheduler(scheduler_config_, request.flow_shift);
  scheduler.set_sigmas(at::linspace(1, 0, *request.steps + 1, at::kDouble).slice(0, 0, *request.steps));
  return scheduler;
}

EnhanceOptions Pipeline::enhancement(const Request& request) const {
  auto options = request.enhance;
  if (options.blocks == EnhanceBlocks::dual) options.layers = options.layers.within(0, config_.num_layers - 1);
  if (options.blocks == EnhanceBlocks::single)
    options.layers = options.layers.within(config_.num_layers, config_.layers() - 1);
  return options;
}

std::vector<int64_t> Pipeline::latent_shape(const Request& request) const {
  const auto pixels = vae_config_.spatial_compression();
  return {1, config_.in_channels, (*request.frames - 1) / vae_config_.temporal_compression_ratio + 1,
          *request.height / pixels, *request.width / pixels};
}

Grid Pipeline::grid(const Request& request) const {
  const auto shape = latent_shape(request);
  return {shape[2] / config_.patch_size_t, (shape[3] / config_.patch_size) * (shape[4] / config_.patch_size)};
}

MemoryPlan Pipeline::plan(const Request& request, const Placement& placement) const {
  const auto shape = latent_shape(request);
  const auto held = static_cast<int64_t>(c10::elementSize(placement.storage)),
             element = static_cast<int64_t>(c10::elementSize(placement.compute));
  const int64_t tokens = kPromptTokens + grid(request).frames * grid(request).positions, channels = config_.channels();
  const int64_t rows = std::min(tokens, FeedForward::kRows);
  // Where weights are held in another type, the largest is converted while it is used.
  const auto converted = [&](int64_t largest) { return held == element ? 0 : largest * element; };
  const auto tensors = kTransformerTensors + (placement.compute == at::kFloat ? 0 : kNormTensors);
  const auto prompt = kInstructionTokens + kPromptTokens;

  return {{{"text encoder",
            held_bytes(model_ / "text_encoder", kTransformersStem, placement,
                       LlamaEncoder::unneeded_keys(llama_config_, kSkippedLlamaLayers), {"model.layers.", "layers."}) +
                held_bytes(model_ / "text_encoder_2", kTransformersStem, placement, ClipTextEncoder::unneeded_keys()),
            kTextTensors * prompt * llama_config_.hidden * element +
                converted(llama_config_.channels * llama_config_.hidden)},
           {"transformer",
            held_bytes(model_ / "transformer", kDiffusersStem, placement, {},
                       {"transformer_blocks.", "single_transformer_blocks."}),
            (tensors * tokens * channels + rows * (3 * channels + config_.mlp_channels)) * element +
                2 * tokens * config_.attention_head_dim * static_cast<int64_t>(sizeof(float)) +
                converted((channels + config_.mlp_channels) * channels)},
           {"vae", held_bytes(model_ / "vae", kDiffusersStem, placement, Vae::unneeded_keys()),
            decode_memory(vae_config_, shape[2], shape[3], shape[4], request.vae_tiling == VaeTiling::on, element)}}};
}

Inspection Pipeline::inspect() const {
  return {"HunyuanVideo",
          {inspect_part(model_ / "text_encoder", kTransformersStem),
           inspect_part(model_ / "text_encoder_2", kTransformersStem),
           inspect_part(model_ / "transformer", kDiffusersStem), inspect_part(model_ / "vae", kDiffusersStem),
           Part{"scheduler", scheduler_config_.get<std::string>("_class_name"), 0, {}, 0}},
          config_.layers(),
          fmt::format("the attention of {} dual-stream blocks (layers 0 to {}) and {} single-stream blocks (to {}), "
                      "video tokens only",
                      config_.num_layers, config_.num_layers - 1, config_.num_single_layers, config_.layers() - 1),
          kEnhanceWeight};
}

Tensor Pipeline::llama_embeds(const std::string& prompt, Progress& progress) const {
  const auto tokens =
      tokenize(*llama_tokenizer_, kBeforePrompt + prompt + kAfterPrompt, kInstructionTokens + kPromptTokens);
  if (!tokens.cut.empty()) {
    auto cut = tokens.cut;
    if (cut.ends_with(kAfterPrompt)) cut.resize(cut.size() - std::string_view(kAfterPrompt).size());
    if (!cut.empty())
      progress.warning(fmt::format(
          "the prompt is longer than the {} tokens that this model takes; this was cut: \"{}\"", kPromptTokens, cut));
  }
  // Padding comes last and is never attended to: it is left out.
  const auto count = tokens.mask.sum().item<int64_t>();
  if (count <= kInstructionTokens)
    throw Error(
        fmt::format("{}: it makes {} tokens of the instruction and the prompt, of which the first {} are the "
                    "instruction: it is not the tokenizer that this model was made for",
                    (model_ / "tokenizer").string(), count, kInstructionTokens));
  const auto ids = tokens.ids.slice(1, 0, count).to(placement().device);
  return (*llama_)(ids, placement().compute, progress).slice(1, kInstructionTokens);
}

Tensor Pipeline::pooled_embeds(const std::string& prompt, Progress& progress) const {
  const auto tokens = tokenize(*clip_tokenizer_, prompt, kClipTokens);
  if (!tokens.cut.empty())
    progress.warning(fmt::format("CLIP, one of the two text encoders, takes {} tokens; it does not see: \"{}\"",
                                 kClipTokens, tokens.cut));
  return (*clip_)(tokens.ids.to(placement().device), placement().compute, progress);
}

Transformer::Caption Pipeline::embed(const std::string& prompt, Progress& progress) const {
  return {llama_embeds(prompt, progress), pooled_embeds(prompt, progress)};
}

Conditioning Pipeline::encode(const Request& request, Progress& progress) {
  if (!llama_) {
    llama_tokenizer_ = open_llama_tokenizer(model_ / "tokenizer");
    clip_tokenizer_ = open_clip_tokenizer(model_ / "tokenizer_2");
    llama_ = LlamaEncoder::open(model_ / "text_encoder", placement().policy(), kSkippedLlamaLayers);
    clip_ = ClipTextEncoder::open(model_ / "text_encoder_2", placement().policy());
  }
  const auto prompt = embed(request.prompt, progress);
  if (!truly_guided(request)) return {prompt.text, prompt.pooled};
  const auto negative = embed(*request.negative_prompt, progress);
  return {prompt.text, prompt.pooled, negative.text, negative.pooled};
}

void Pipeline::release_text_encoder() {
  llama_.reset();
  clip_.reset();
}

Tensor Pipeline::denoise(const Request& request, const Conditioning& conditioning, Progress& progress, Trace& trace) {
  const auto& where = placement();
  if (!transformer_)
    transformer_ = load_part<Transformer>(model_ / "transformer", kDiffusersStem, placement().policy(), config_, {});
  const auto schedule = scheduler(request);
  auto generator = at::detail::createCPUGenerator(*request.seed);
  // Latents stay in float32 between the steps, whatever the model computes in.
  auto latents = initial_latents(request, latent_shape(request), generator, at::kFloat).to(where.device);

  const auto inputs = transformer_->prepare(latents.size(2), latents.size(3), latents.size(4), where.device);
  const Transformer::Caption prompt{conditioning[0], conditioning[1]};
  Enhancer enhancer(enhancement(request), *request.steps, config_.layers());
  Step step{inputs.grid, enhancer, progress};
  for (int64_t i = 0; i < *request.steps; ++i) {
    enhancer.begin_step(i);
    const auto timestep = schedule.timesteps().narrow(0, i, 1).to(where.device);
    const auto predict = [&](const Transformer::Caption& caption) {
      return (*transformer_)(latents.to(where.compute), timestep, *request.guidance, caption, inputs, step);
    };
    auto velocity = predict(prompt);
    if (truly_guided(request)) {  // each branch has its own CFI
      const auto negative = predict({conditioning[2], conditioning[3]});
      velocity = negative + *request.true_guidance * (velocity - negative);
    }
    latents = schedule.step(velocity, i, latents);
    progress.step(i + 1, *request.steps);
  }
  trace = enhancer.trace();
  return latents;
}

Tensor Pipeline::decode(const Request& request, const Tensor& latents, Progress& progress) {
  if (!vae_)
    vae_ = load_part<Vae>(model_ / "vae", kDiffusersStem, placement().policy(), vae_config_, Vae::unneeded_keys());
  const auto scaled = latents.to(placement().compute) / vae_config_.scaling_factor;
  return to_pictures(vae_->decode(scaled, request.vae_tiling == VaeTiling::on, progress));
}

}  // namespace eav::hunyuan_video
