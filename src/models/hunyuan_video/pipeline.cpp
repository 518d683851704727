#include "models/hunyuan_video/pipeline.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <cmath>

#include "enhance/enhancer.h"
#include "models/conditions.h"
#include "models/hunyuan_video/image_prompt.h"
#include "models/parts.h"
#include "models/requests.h"
#include "text/clip_tokenizer.h"
#include "text/llama_tokenizer.h"
#include "text/prompt.h"
#include "video/reader.h"

namespace eav::hunyuan_video {
namespace {

constexpr const char* kImageToVideo = "HunyuanVideoImageToVideoPipeline";
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

constexpr double kStartNoise = 0.999;       // of the latents that an image's video begins with; the rest is the image
constexpr int64_t kNegativeInterleave = 2;  // of the black picture's tokens, every second is kept

// Every n-th token of the picture is kept.
int64_t interleave(ImageCondition condition) { return condition == ImageCondition::latent_concat ? 2 : 4; }

// The transformer's working memory in units of one [L, C] tensor: the residual stream, its normed copy, queries, keys,
// values, the attention's output and its projection, and one for what kernels hold. Where ATen norms queries and keys,
// its copies come on top.
constexpr int64_t kTransformerTensors = 8;
constexpr int64_t kNormTensors = 5;

// The text encoder's, in units of one hidden layer of its feed-forward [L, hidden].
constexpr int64_t kTextTensors = 6;

TransformerConfig read_transformer(const std::filesystem::path& model) {
  const auto path = model / "transformer" / "config.json";
  const auto config = TransformerConfig::read(JsonFile(path));
  const bool takes_image = config.image_condition != ImageCondition::none;
  const bool named = JsonFile(model / "model_index.json").get<std::string>("_class_name") == kImageToVideo;
  if (named != takes_image)
    throw Error(fmt::format("{}: \"image_condition_type\" is {}, but model_index.json names a pipeline that {}",
                            path.string(), takes_image ? "set" : "not set",
                            named ? "sets out from an image" : "knows no image"));
  return config;
}

bool truly_guided(const Request& request) { return *request.true_guidance > 1; }

}  // namespace

Pipeline::Pipeline(const std::filesystem::path& model)
    : model_(model),
      config_(read_transformer(model)),
      vae_config_(VaeConfig::read(JsonFile(model / "vae" / "config.json"))),
      llava_config_(takes_image() ? std::optional<LlavaConfig>(JsonFile(model / "text_encoder" / "config.json"))
                                  : std::nullopt),
      llama_config_(llava_config_ ? llava_config_->text
                                  : LlamaConfig(JsonFile(model / "text_encoder" / "config.json"))),
      clip_config_(JsonFile(model / "text_encoder_2" / "config.json")),
      scheduler_config_(model / "scheduler" / "scheduler_config.json") {
  check_agree(model, "latent channels", config_.out_channels, "VAE", vae_config_.latent_channels);
  check_agree(model, "channels of text embeddings", config_.text_embed_dim, "LLaMA", llama_config_.channels);
  check_agree(model, "channels of pooled embeddings", config_.pooled_projection_dim, "CLIP", clip_config_.channels);
  if (llama_config_.layers <= kSkippedLlamaLayers)
    throw Error(fmt::format("{}: the LLaMA has {} layers, of which the last {} are left out: too few", model.string(),
                            llama_config_.layers, kSkippedLlamaLayers));
  if (!takes_image()) return;
  if (const auto& vision = llava_config_->vision; vision.patches() != kImageTokens)
    throw Error(fmt::format("{}: the vision tower makes {} tokens of a picture of {} pixels, expected {}",
                            (model / "text_encoder" / "config.json").string(), vision.patches(), vision.image_size,
                            kImageTokens));
  const JsonFile processor(model / "image_processor" / "preprocessor_config.json");
  image_processor_.emplace(processor);
  const auto size = llava_config_->vision.image_size;
  if (image_processor_->crop_height != size || image_processor_->crop_width != size)
    throw Error(fmt::format("{}: \"crop_size\" is {}x{}, but the vision tower takes {}x{}", processor.path().string(),
                            image_processor_->crop_width, image_processor_->crop_height, size, size));
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
  if (!request.guidance) request.guidance = takes_image() ? 1 : 6;
  if (!request.true_guidance) request.true_guidance = 1;
  if (!request.scheduler) request.scheduler = "euler";
  if (!request.image_fit) request.image_fit = ImageFit::stretch;
  if (!request.vae_tiling) request.vae_tiling = VaeTiling::automatic;
  if (!request.enhance.weight) request.enhance.weight = kEnhanceWeight;

  check_common(request, config_.layers());
  std::vector<std::string> has{"true guidance", "flow shift", "kinds of blocks"};
  if (takes_image()) has.emplace_back("image or video to condition on");
  check_has_only(request, takes_image() ? "this HunyuanVideo" : "HunyuanVideo", has);
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
  if (takes_image()) check_image(request);
  request.flow_shift = scheduler(request).shift();
  enhancement(request);
  if (!request.init_latents.empty()) load_latents(request.init_latents, latent_shape(request));
  return request;
}

void Pipeline::check_image(const Request& request) const {
  for (const auto& prompt : {request.prompt, request.negative_prompt.value_or("")}) check_image_prompt(prompt);
  const auto ratio = vae_config_.temporal_compression_ratio;
  if (config_.image_condition == ImageCondition::latent_concat && *request.frames <= ratio)
    throw Error(fmt::format("frames is {}, expected at least {}: this model's first {} show the image and are left out",
                            *request.frames, ratio + 1, ratio));
  if (request.conditions.empty()) return;  // see check_complete()
  check_conditions(request);
  if (request.conditions.size() > 1 || request.conditions[0].is_video)
    throw Error("this HunyuanVideo takes a single image to set out from: give one --image");
  if (request.conditions[0].frame_index.value_or(0) != 0 || request.conditions[0].strength.value_or(1) != 1)
    throw Error("this HunyuanVideo sets out from an image at its beginning: leave frame index and strength out");
}

void Pipeline::check_complete(const Request& request) const {
  if (takes_image() && request.conditions.empty())
    throw Error("this HunyuanVideo makes a video of an image: give one with --image");
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
  return {1, config_.out_channels, (*request.frames - 1) / vae_config_.temporal_compression_ratio + 1,
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
  const auto picture = takes_image() ? kImageTokens / interleave(config_.image_condition) : 0;
  const int64_t tokens = picture + kPromptTokens + grid(request).frames * grid(request).positions,
                channels = config_.channels();
  const int64_t rows = std::min(tokens, FeedForward::kRows);
  // Where weights are held in another type, the largest is converted while it is used.
  const auto converted = [&](int64_t largest) { return held == element ? 0 : largest * element; };
  const auto tensors = kTransformerTensors + (placement.compute == at::kFloat ? 0 : kNormTensors);
  const auto prompt = takes_image() ? image_prompt_tokens() : kInstructionTokens + kPromptTokens;

  MemoryPlan::Phase text{
      "text encoder",
      held_bytes(model_ / "text_encoder_2", kTransformersStem, placement, ClipTextEncoder::unneeded_keys()),
      kTextTensors * prompt * llama_config_.hidden * element +
          converted(llama_config_.channels * llama_config_.hidden)};
  if (takes_image()) {  // the VAE's encoder is loaded beside it
    text.weights +=
        held_bytes(model_ / "text_encoder", kTransformersStem, placement,
                   LlavaEncoder::unneeded_keys(*llava_config_, kSkippedLlamaLayers), LlavaEncoder::block_prefixes()) +
        held_bytes(model_ / "vae", kDiffusersStem, placement, VaeEncoder::unneeded_keys());
    text.activations = std::max(text.activations, encode_memory(vae_config_, *request.height, *request.width,
                                                                request.vae_tiling == VaeTiling::on, element));
  } else {
    text.weights +=
        held_bytes(model_ / "text_encoder", kTransformersStem, placement,
                   LlamaEncoder::unneeded_keys(llama_config_, kSkippedLlamaLayers), {"model.layers.", "layers."});
  }
  return {{text,
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
  const auto* kind = config_.image_condition == ImageCondition::latent_concat   ? ", image to video (latent_concat)"
                     : config_.image_condition == ImageCondition::token_replace ? ", image to video (token_replace)"
                                                                                : "";
  return {std::string("HunyuanVideo") + kind,
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
  auto cut = tokens.cut;
  if (cut.ends_with(kAfterPrompt)) cut.resize(cut.size() - std::string_view(kAfterPrompt).size());
  warn_of_cut(cut, kPromptTokens, progress);
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

Tensor Pipeline::llava_embeds(const std::string& prompt, const Tensor& picture, int64_t interleave,
                              Progress& progress) const {
  const auto tokens =
      image_prompt(*llama_tokenizer_, prompt, llava_->image_token, interleave, (model_ / "tokenizer").string());
  warn_of_cut(tokens.cut, kPromptTokens, progress);
  const auto& where = placement();
  const auto pixels = (*image_processor_)(picture).to(where.device, where.compute);
  return (*llava_)(tokens.ids.to(where.device), pixels, progress).index_select(1, tokens.kept.to(where.device));
}

void Pipeline::load_text_encoders() {
  if (clip_) return;
  llama_tokenizer_ = open_llama_tokenizer(model_ / "tokenizer");
  clip_tokenizer_ = open_clip_tokenizer(model_ / "tokenizer_2");
  const auto dir = model_ / "text_encoder";
  if (takes_image())
    llava_ = LlavaEncoder::open(dir, placement().policy(), kSkippedLlamaLayers);
  else
    llama_ = LlamaEncoder::open(dir, placement().policy(), kSkippedLlamaLayers);
  clip_ = ClipTextEncoder::open(model_ / "text_encoder_2", placement().policy());
}

Conditioning Pipeline::encode(const Request& request, Progress& progress) {
  load_text_encoders();
  Conditioning conditioning;
  const auto add = [&](const Tensor& text, const std::string& prompt) {
    conditioning.insert(conditioning.end(), {text, pooled_embeds(prompt, progress)});
  };
  if (!takes_image()) {
    add(llama_embeds(request.prompt, progress), request.prompt);
    if (truly_guided(request)) add(llama_embeds(*request.negative_prompt, progress), *request.negative_prompt);
    return conditioning;
  }
  const auto picture = read_frames(request.conditions[0].file, 1)[0];  // as it is: the vision tower cuts out its middle
  add(llava_embeds(request.prompt, picture, interleave(config_.image_condition), progress), request.prompt);
  if (truly_guided(request)) {
    const auto black = at::zeros({*request.height, *request.width, 3}, at::kByte);
    add(llava_embeds(*request.negative_prompt, black, kNegativeInterleave, progress), *request.negative_prompt);
  }
  conditioning.push_back(image_latents(request, progress));
  return conditioning;
}

Tensor Pipeline::image_latents(const Request& request, Progress& progress) {
  progress.phase("vae encoder");
  if (!vae_encoder_)
    vae_encoder_ = load_part<VaeEncoder>(model_ / "vae", kDiffusersStem, placement().policy(), vae_config_,
                                         VaeEncoder::unneeded_keys());
  const auto picture = to_video(load_condition(request.conditions[0], request, progress, 1));
  const auto encoded = (*vae_encoder_)(picture.to(placement().device, placement().compute),
                                       request.vae_tiling == VaeTiling::on, progress);
  return encoded.to(at::kFloat) * vae_config_.scaling_factor;
}

void Pipeline::release_text_encoder() {
  llama_.reset();
  llava_.reset();
  clip_.reset();
  vae_encoder_.reset();
}

Tensor Pipeline::with_image(const Tensor& latents, const Tensor& image) const {
  if (config_.image_condition == ImageCondition::none) return latents;
  const auto others = latents.slice(2, 1);
  if (config_.image_condition == ImageCondition::token_replace) return at::cat({image, others}, 2);
  const auto shown = at::cat({image, at::zeros_like(others)}, 2);
  auto mask = at::zeros_like(latents.slice(1, 0, 1));  // [1, 1, F, h, w] of the frames that the image shows
  mask.select(2, 0).fill_(1);
  return at::cat({latents, shown, mask}, 1);
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
  const auto image = takes_image() ? conditioning.back() : Tensor();  // [1, C, 1, h, w]
  if (takes_image()) {
    const auto noise = at::full({1}, kStartNoise, latents.options());
    latents = latents * noise + image * (1 - noise);
  }
  // Where the image is the first latent frame, the others alone are denoised.
  const int64_t first = config_.image_condition == ImageCondition::token_replace ? 1 : 0;
  Enhancer enhancer(enhancement(request), *request.steps, config_.layers());
  Step step{inputs.grid, enhancer, progress};
  for (int64_t i = 0; i < *request.steps; ++i) {
    enhancer.begin_step(i);
    const auto timestep = schedule.timesteps().narrow(0, i, 1).to(where.device);
    const auto input = with_image(latents, image).to(where.compute);
    const auto predict = [&](const Transformer::Caption& caption) {
      return (*transformer_)(input, timestep, *request.guidance, caption, inputs, step);
    };
    auto velocity = predict(prompt);
    if (truly_guided(request)) {  // each branch has its own CFI
      const auto negative = predict({conditioning[2], conditioning[3]});
      velocity = negative + *request.true_guidance * (velocity - negative);
    }
    latents = schedule.step(velocity.slice(2, first), i, latents.slice(2, first));
    if (first > 0) latents = at::cat({image, latents}, 2);
    progress.step(i + 1, *request.steps);
  }
  trace = enhancer.trace();
  return latents;
}

// Beside a concatenated image, the first latent frame shows that image again: it is not part of the video.
Tensor Pipeline::shown_latents(const Tensor& latents) const {
  return config_.image_condition == ImageCondition::latent_concat ? latents.slice(2, 1).contiguous() : latents;
}

Tensor Pipeline::decode(const Request& request, const Tensor& latents, Progress& progress) {
  if (!vae_)
    vae_ = load_part<Vae>(model_ / "vae", kDiffusersStem, placement().policy(), vae_config_, Vae::unneeded_keys());
  const auto scaled = latents.to(placement().compute) / vae_config_.scaling_factor;
  const auto video = vae_->decode(scaled, request.vae_tiling == VaeTiling::on, progress);
  const bool leaves_out = config_.image_condition == ImageCondition::latent_concat;
  return to_pictures(video.slice(2, leaves_out ? vae_config_.temporal_compression_ratio : 0));
}

}  // namespace eav::hunyuan_video
