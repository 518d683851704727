#include "models/open_sora/pipeline.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "enhance/enhancer.h"
#include "models/conditions.h"
#include "models/open_sora/sizes.h"
#include "models/parts.h"
#include "models/requests.h"
#include "text/caption_cleaning.h"
#include "text/prompt.h"
#include "text/t5_tokenizer.h"
#include "text/tokenizer/unicode.h"

namespace eav::open_sora {
namespace {

constexpr double kEnhanceWeight = 4;  // the method's authors publish none; they use it for their other large models
constexpr double kAestheticScore = 6.5;
constexpr double kPictureFps = 120;  // that the model is told of a single frame
constexpr const char* kTransformerFolder = "OpenSora-STDiT-v3";
constexpr const char* kStem = "model";  // how the files with weights begin

// The transformer's working memory in units of one [B, T*S, C] tensor: the residual stream, its norm, queries, keys,
// values, the attention's output and its projection, and one for what kernels hold.
constexpr int64_t kTransformerTensors = 8;

// The text encoder's, in units of one hidden layer of its feed-forward [L, hidden].
constexpr int64_t kTextTensors = 6;

bool guided(const Request& request) { return *request.guidance > 1; }

bool is_at_end(const Condition& condition) { return condition.frame_index == -1; }

// The prompt with what it does not say already written after it, as in the training captions.
std::string with_scores(const Request& request) {
  auto prompt = request.prompt;
  const auto append = [&](const std::string& name, const std::string& value) {
    if (request.prompt.find(name) == std::string::npos) prompt += fmt::format(" {} {}.", name, value);
  };
  append("aesthetic score:", fmt::format("{:.1f}", *request.aesthetic_score));
  if (request.motion_score) append("motion score:", fmt::format("{:.1f}", *request.motion_score));
  if (request.camera_motion) append("camera motion:", *request.camera_motion);
  return prompt;
}

// Whether the folder's configuration is that of such a model.
bool holds(const std::filesystem::path& folder, const char* model_type) {
  const auto config = folder / "config.json";
  return std::filesystem::exists(config) && JsonFile(config).get<std::string>("model_type", "") == model_type;
}

// Whether all parts lie in the folder, under the names that they were released with.
bool is_whole(const std::filesystem::path& model) {
  return std::filesystem::exists(model / kTransformerFolder / "config.json");
}

// The folder of a T5 encoder among others.
T5Folders find_text_encoder(const std::filesystem::path& model) {
  std::set<std::filesystem::path> folders;
  for (const auto& entry : std::filesystem::directory_iterator(model)) folders.insert(entry.path());
  for (const auto& folder : folders)
    if (holds(folder, "t5")) return T5Folders::find(folder);
  throw Error(
      fmt::format("{}: has no folder of a T5 encoder, with a config.json: put one there, or name it with "
                  "--text-encoder",
                  model.string()));
}

}  // namespace

bool Parts::are_in(const std::filesystem::path& model) { return is_whole(model) || holds(model, "STDiT3"); }

Parts Parts::find(const ModelPaths& paths) {
  const auto& model = paths.model;
  const bool whole = is_whole(model);
  if (!whole && (paths.vae.empty() || paths.text_encoder.empty()))
    throw Error(
        fmt::format("{}: is the transformer of Open-Sora alone: name the folders of the other parts with --vae "
                    "and --text-encoder",
                    model.string()));
  return {.model = model,
          .transformer = whole ? model / kTransformerFolder : model,
          .vae = paths.vae.empty() ? model / "OpenSora-VAE-v1.2" : paths.vae,
          .text = paths.text_encoder.empty() ? find_text_encoder(model) : T5Folders::find(paths.text_encoder)};
}

Pipeline::Pipeline(Parts parts)
    : parts_(std::move(parts)),
      config_(TransformerConfig::read(JsonFile(parts_.transformer / "config.json"))),
      vae_config_(VaeConfig::read(JsonFile(parts_.vae / "config.json"))),
      text_config_(JsonFile(parts_.text.encoder / "config.json")) {
  check_agree(parts_.model, "latent channels", config_.in_channels, "VAE", vae_config_.temporal.embed_dim);
  check_agree(parts_.model, "channels of text embeddings", config_.caption_channels, "text encoder",
              text_config_.channels);
}

// ---- requests -------------------------------------------------------------------------------------------------------

Request Pipeline::resolve(const Request& asked) const {
  Request request = asked;
  apply_checkpoint_defaults(request, parts_.model);
  if (request.negative_prompt && !request.negative_prompt->empty())
    throw Error("Open-Sora has no negative prompt, its unconditional half is the model's own: leave that option out");
  if ((asked.resolution || asked.aspect) && (asked.width || asked.height))
    throw Error("a size has a resolution and an aspect, or a width and a height: leave one of the two out");
  if (asked.length && asked.frames)
    throw Error("the video has a length or a number of frames: leave one of the two out");
  const auto size = named_size(request.resolution.value_or("240p"), request.aspect.value_or("9:16"));
  if (asked.resolution || asked.aspect) request.height = size.height, request.width = size.width;
  if (!request.height) request.height = size.height;
  if (!request.width) request.width = size.width;
  if (asked.length || !request.frames) request.frames = named_length(request.length.value_or("2s"));
  request.resolution = request.aspect = request.length = std::nullopt;
  if (!request.seed) request.seed = draw_seed();
  if (!request.fps) request.fps = 24;
  if (!request.steps) request.steps = 30;
  if (!request.guidance) request.guidance = 7;
  if (!request.scheduler) request.scheduler = "euler";
  if (!request.image_fit) request.image_fit = ImageFit::crop;
  if (!request.aesthetic_score) request.aesthetic_score = kAestheticScore;
  if (!request.enhance.weight) request.enhance.weight = kEnhanceWeight;
  if (request.vae_tiling == VaeTiling::on)
    throw Error("Open-Sora decodes a frame at a time, and has no tiles: leave --vae-tiling out");
  request.vae_tiling = VaeTiling::off;

  check_common(request, config_.depth);
  check_has_only(request, "Open-Sora",
                 {"image or video to condition on", "resolutions, aspects and lengths by name", "prompt clean-up",
                  "aesthetic score", "motion score", "camera motion", "loop of clips"});
  check_euler(request, "Open-Sora");
  for (const auto& [name, value] : {std::pair{"width", *request.width}, {"height", *request.height}})
    if (value < vae_config_.spatial.compression())
      throw Error(fmt::format("{} is {}, expected at least {}", name, value, vae_config_.spatial.compression()));
  RectifiedFlowScheduler(*request.steps, *request.height, *request.width, *request.frames);
  if (!text::is_utf8(request.camera_motion.value_or(""))) throw Error("the camera motion is not valid UTF-8");
  check_loop(request);
  check_conditions(request);
  if (!request.init_latents.empty()) load_latents(request.init_latents, latents_shape(request));
  return request;
}

void Pipeline::check_loop(const Request& request) const {
  const auto frames = *request.frames, batch = vae_config_.batch_frames(frames);
  if (request.loop < 1) throw Error(fmt::format("the loop has {} clips, expected at least 1", request.loop));
  if (request.loop > 1 && (frames < 2 * batch || frames % batch != 0))
    throw Error(
        fmt::format("a loop goes on from the last {} frames of a clip, which has {}: expected a multiple of {} "
                    "from {} on",
                    batch, frames, batch, 2 * batch));
}

void Pipeline::check_conditions(const Request& request) const {
  eav::check_conditions(request);
  int64_t begins = 0, ends = 0;
  for (const auto& condition : request.conditions) {
    (is_at_end(condition) ? ends : begins)++;
    if (!is_at_end(condition) && condition.frame_index.value_or(0) != 0)
      throw Error(
          fmt::format("'{}' is to begin at frame {}, but Open-Sora takes pictures and clips at the beginning, "
                      "and with --last-image a picture at the end",
                      condition.file.string(), *condition.frame_index));
  }
  if (begins > 1) throw Error("Open-Sora begins with one --image or --video: leave the others out");
  if (ends > 1) throw Error("the video ends with one --last-image: leave the others out");
  if (ends > 0 && latents_shape(request)[2] == 1)
    throw Error("a single frame has no end: leave --last-image out, or give more --frames");
}

std::vector<int64_t> Pipeline::latents_shape(const Request& request) const {
  const auto ratio = vae_config_.spatial.compression();
  return {1, config_.in_channels, vae_config_.latent_frames(*request.frames), *request.height / ratio,
          *request.width / ratio};
}

VideoSize Pipeline::video_size(const Request& request) const {
  const auto ratio = vae_config_.spatial.compression(), frames = *request.frames;
  return {frames + (request.loop - 1) * (frames - vae_config_.batch_frames(frames)), *request.height / ratio * ratio,
          *request.width / ratio * ratio};
}

Grid Pipeline::grid(const Request& request) const {
  const auto shape = latents_shape(request);
  return config_.grid(shape[2], shape[3], shape[4]);
}

MemoryPlan Pipeline::plan(const Request& request, const Placement& placement) const {
  const auto [frames, positions] = grid(request);
  const auto held = static_cast<int64_t>(c10::elementSize(placement.storage)),
             element = static_cast<int64_t>(c10::elementSize(placement.compute));
  const int64_t rows = guided(request) ? 2 : 1, tokens = rows * frames * positions, channels = config_.hidden_size;
  const int64_t hidden = std::min(tokens, FeedForward::kRows) * config_.mlp_channels;
  // Where weights are held in another type, the largest is converted while it is used.
  const auto converted = [&](int64_t largest) { return held == element ? 0 : largest * element; };
  const auto coding = [&](int64_t coded) {
    return vae_memory(vae_config_, coded, *request.height, *request.width, element);
  };
  const auto encoder = held_bytes(parts_.vae, kStem, placement, VaeEncoder::unneeded_keys()),
             decoder = held_bytes(parts_.vae, kStem, placement, Vae::unneeded_keys());

  MemoryPlan::Phase text{
      "text encoder",
      held_bytes(parts_.text.encoder, kTransformersStem, placement, T5Encoder::unneeded_keys(), {"encoder.block."}),
      kTextTensors * config_.model_max_length * text_config_.hidden * element +
          converted(text_config_.channels * text_config_.hidden)};
  if (!request.conditions.empty()) {  // the VAE's encoder is loaded beside it
    const bool clips = std::ranges::any_of(request.conditions, &Condition::is_video);
    text.weights += encoder;
    text.activations = std::max(text.activations, coding(clips ? *request.frames : 1));
  }
  MemoryPlan::Phase transformer{
      "transformer", held_bytes(parts_.transformer, kStem, placement, {}, {"spatial_blocks.", "temporal_blocks."}),
      (kTransformerTensors * tokens * channels + hidden) * element + converted(config_.mlp_channels * channels)};
  if (request.loop > 1) {  // both halves of the VAE work between the clips
    transformer.weights += encoder + decoder;
    transformer.activations = std::max(transformer.activations, coding(vae_config_.batch_frames(*request.frames)));
  }
  return {{text, transformer, {"vae", decoder, coding(video_size(request).frames)}}};
}

Inspection Pipeline::inspect() const {
  const auto part = [](const char* name, const std::filesystem::path& dir, const char* stem) {
    return inspect_part(name, JsonFile(dir / "config.json"), {.path = dir, .stem = stem, .rename = {}});
  };
  return {"Open-Sora",
          {part("text_encoder", parts_.text.encoder, kTransformersStem), part("transformer", parts_.transformer, kStem),
           part("vae", parts_.vae, kStem)},
          config_.depth,
          fmt::format("the self-attention over time of all {} temporal blocks", config_.depth),
          kEnhanceWeight};
}

// ---- the phases -----------------------------------------------------------------------------------------------------

Tensor Pipeline::embed(const Request& request, Progress& progress) const {
  auto prompt = with_scores(request);
  if (request.clean_prompt) {
    const auto cleaned = clean_caption(prompt);
    if (cleaned.removed_tags)
      progress.warning(
          "what stands between < and > in the prompt was taken for a tag and left out; --no-clean-prompt keeps it");
    if (cleaned.removed_cjk)
      progress.warning(
          "Chinese, Japanese and Korean signs were taken out of the prompt, which this model was trained "
          "without: write it in English");
    prompt = cleaned.text;
  } else {
    prompt = plain_caption(prompt);
  }
  const auto tokens = tokenize(*tokenizer_, prompt, config_.model_max_length);
  warn_of_cut(tokens.cut, config_.model_max_length, progress);
  // Nothing attends to padding, so that it is left out.
  const auto ids = tokens.ids.slice(1, 0, tokens.mask.sum().item<int64_t>()).to(placement().device);
  return (*text_encoder_)(ids, std::nullopt, placement().compute, progress)[0];
}

Conditioning Pipeline::encode(const Request& request, Progress& progress) {
  if (!tokenizer_) tokenizer_ = open_t5_tokenizer(parts_.text.tokenizer);
  if (!text_encoder_) text_encoder_ = T5Encoder::open(parts_.text.encoder, placement().policy());
  Conditioning conditioning{embed(request, progress)};
  if (!request.conditions.empty()) progress.phase("vae encoder");
  for (const auto& condition : request.conditions)
    conditioning.push_back(encode_condition(condition, request, progress));
  return conditioning;
}

const Vae& Pipeline::vae() {
  if (!vae_) vae_ = load_part<Vae>(parts_.vae, kStem, placement().policy(), vae_config_, Vae::unneeded_keys());
  return *vae_;
}

const VaeEncoder& Pipeline::vae_encoder() {
  if (!vae_encoder_)
    vae_encoder_ =
        load_part<VaeEncoder>(parts_.vae, kStem, placement().policy(), vae_config_, VaeEncoder::unneeded_keys());
  return *vae_encoder_;
}

Tensor Pipeline::encode_condition(const Condition& condition, const Request& request, Progress& progress) {
  auto frames = load_condition(condition, request, progress, condition.is_video ? *request.frames : 1, Filter::bicubic);
  // A part of a batch is encoded as the beginning of one: a frame, and groups that become a latent frame each.
  const auto batch = vae_config_.batch_frames(*request.frames), ratio = vae_config_.temporal.compression();
  const auto rest = frames.size(0) % batch;
  if (rest > 0) frames = frames.slice(0, 0, frames.size(0) - (rest - 1) % ratio);
  return vae_encoder()(to_video(frames).to(placement().device, placement().compute), progress).to(at::kFloat).cpu();
}

void Pipeline::Given::put(const Tensor& frames, int64_t first, double strength) {
  if (strength == 0) return;  // nothing of it stays, and a frame that is wholly new begins as noise
  const auto length = std::min(frames.size(2), latents.size(2) - first);
  latents.narrow(2, first, length).copy_(frames.narrow(2, 0, length));
  edited.narrow(0, first, length).fill_(1 - strength);
}

std::optional<Pipeline::Given> Pipeline::given(const Request& request, const Conditioning& conditioning, int64_t clip,
                                               const Tensor& end_before, const Tensor& noise) const {
  Given given{noise.clone(), at::ones({noise.size(2)}, at::kFloat)};
  if (clip > 0) given.put(end_before, 0, 1);
  for (size_t i = 0; i < request.conditions.size(); ++i) {
    const auto& condition = request.conditions[i];
    const auto strength = condition.strength.value_or(1);
    if (clip == 0 && !is_at_end(condition)) given.put(conditioning[1 + i], 0, strength);
    if (clip + 1 == request.loop && is_at_end(condition)) given.put(conditioning[1 + i], noise.size(2) - 1, strength);
  }
  if ((given.edited == 1).all().item<bool>()) return std::nullopt;
  return given;
}

Tensor Pipeline::encode_end(const Request& request, const Tensor& clip, Progress& progress) {
  const auto batch = vae_config_.batch_frames(*request.frames), latents = vae_config_.batch_latents(*request.frames);
  const auto end = clip.slice(2, clip.size(2) - latents).to(placement().compute);
  progress.phase("vae");
  const auto encoded = vae_encoder()(vae().decode(end, batch, progress), progress).to(at::kFloat).cpu();
  progress.phase("transformer");
  return encoded;
}

Tensor Pipeline::denoise(const Request& request, const Conditioning& conditioning, Progress& progress, Trace& trace) {
  const auto& where = placement();
  if (!transformer_) transformer_ = load_part<Transformer>(parts_.transformer, kStem, where.policy(), config_, {});
  auto generator = at::Generator(at::detail::createCPUGenerator(*request.seed));
  const auto steps = *request.steps, length = *request.frames;
  const RectifiedFlowScheduler scheduler(steps, *request.height, *request.width, length);
  Captions captions{conditioning[0]};
  if (guided(request))  // as long as the prompt's
    captions.push_back(transformer_->null_caption().slice(0, 0, conditioning[0].size(0)).to(where.compute));
  const Sampling sampling{*transformer_,
                          scheduler,
                          transformer_->embed(captions),
                          {length == 1 ? kPictureFps : *request.fps, *request.height, *request.width},
                          *request.guidance,
                          where.compute};
  const auto shape = latents_shape(request);
  const auto draw = [&] { return at::randn(shape, generator, at::TensorOptions(at::kFloat)); };

  std::vector<Tensor> clips;
  for (int64_t clip = 0; clip < request.loop; ++clip) {
    const auto noise = clip == 0 ? initial_latents(request, shape, generator, at::kFloat) : draw();
    const auto end_before = clip == 0 ? Tensor() : encode_end(request, clips.back(), progress);
    const auto frames = given(request, conditioning, clip, end_before, noise);
    std::optional<GivenFrames> mask;
    if (frames) mask = GivenFrames{frames->edited.to(where.device), [&] { return draw().to(where.device); }};
    Enhancer enhancer(request.enhance, steps, config_.depth);
    const auto after_step = [&](int64_t i) { progress.step(clip * steps + i + 1, request.loop * steps); };
    clips.push_back(
        sampling((frames ? frames->latents : noise).to(where.device), mask, enhancer, progress, after_step));

    auto part = enhancer.trace();  // a clip's steps follow those of the one before
    for (auto& entry : part.entries) entry.step += clip * steps;
    if (clip > 0) part.entries.insert(part.entries.begin(), trace.entries.begin(), trace.entries.end());
    trace = std::move(part);
  }
  trace.steps = request.loop * steps;
  return at::cat(clips, 2);
}

Tensor Pipeline::decode(const Request& request, const Tensor& latents, Progress& progress) {
  std::vector<Tensor> pictures;
  for (const auto& clip : latents.chunk(request.loop, 2)) {
    const auto frames = to_pictures(vae().decode(clip.to(placement().compute), *request.frames, progress));
    pictures.push_back(frames.slice(0, pictures.empty() ? 0 : vae_config_.batch_frames(*request.frames)));
  }
  return at::cat(pictures);
}

}  // namespace eav::open_sora
