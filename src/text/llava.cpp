#include "text/llava.h"

#include <fmt/format.h>

#include <array>
#include <span>

#include "eav/error.h"

namespace eav {
namespace {

// Released files (two generations of them), what transformers 5 saves, and how it holds the parts.
constexpr std::array kVisionPrefixes{"vision_tower.vision_model.", "vision_tower.", "model.vision_tower.vision_model.",
                                     "model.vision_tower."};
constexpr std::array kProjectorPrefixes{"multi_modal_projector.", "model.multi_modal_projector."};
constexpr std::array kTextPrefixes{"language_model.model.", "model.language_model.", "language_model."};

// A part of the configuration, with what transformers takes for fields that a released file leaves out.
JsonFile section(const JsonFile& json, const std::string& name, nlohmann::json fields) {
  if (!json.has(name)) throw Error(fmt::format("{}: \"{}\" is missing: this is no LLaVA", json.path().string(), name));
  const JsonFile given(json.path(), json.json().at(name));
  for (const auto& [field, value] : given.json().items())
    if (!value.is_null()) fields[field] = value;
  return {json.path(), std::move(fields)};
}

JsonFile vision_section(const JsonFile& json) {
  return section(json, "vision_config",
                 {{"hidden_size", 768},
                  {"intermediate_size", 3072},
                  {"num_hidden_layers", 12},
                  {"num_attention_heads", 12},
                  {"image_size", 224},
                  {"patch_size", 32}});
}

JsonFile text_section(const JsonFile& json) {
  return section(json, "text_config",
                 {{"hidden_size", 4096},
                  {"intermediate_size", 11008},
                  {"num_hidden_layers", 32},
                  {"num_attention_heads", 32},
                  {"vocab_size", 32000}});
}

// The first of the prefixes below which the checkpoint has `key`.
std::string find_prefix(const Checkpoint& checkpoint, std::span<const char* const> prefixes, const std::string& key) {
  for (const auto* prefix : prefixes)
    if (checkpoint.has(prefix + key)) return prefix;
  return prefixes[0];  // loading from there names the key that is missing
}

}  // namespace

LlavaConfig::LlavaConfig(const JsonFile& json)
    : vision(vision_section(json)),
      text(text_section(json)),
      image_token(json.get<int64_t>("image_token_index", json.get<int64_t>("image_token_id", 32000))) {
  const auto fail = [&](const std::string& what) { return Error(json.path().string() + ": " + what); };
  const auto layer = json.get<int64_t>("vision_feature_layer", -2);
  vision_layers = layer < 0 ? vision.layers + 1 + layer : layer;
  if (vision_layers < 0 || vision_layers > vision.layers)
    throw fail(fmt::format("\"vision_feature_layer\" is {}, but the vision tower has {} layers", layer, vision.layers));
  if (const auto strategy = json.get<std::string>("vision_feature_select_strategy", "default"); strategy != "default")
    throw fail(fmt::format("\"vision_feature_select_strategy\" is \"{}\", supported is \"default\"", strategy));
  const auto activation = json.get<std::string>("projector_hidden_act", "gelu");
  gelu_tanh = activation == "gelu_pytorch_tanh" || activation == "gelu_new";
  if (!gelu_tanh && activation != "gelu")
    throw fail(fmt::format("\"projector_hidden_act\" is \"{}\", supported is \"gelu\"", activation));
}

LlavaProjector::LlavaProjector(const Weights& w, const LlavaConfig& c)
    : linear_1(w / "linear_1", c.vision.channels, c.text.channels),
      linear_2(w / "linear_2", c.text.channels, c.text.channels),
      gelu_tanh(c.gelu_tanh) {}

Tensor LlavaProjector::operator()(const Tensor& x) const {
  return linear_2(at::gelu(linear_1(x), gelu_tanh ? "tanh" : "none"));
}

LlavaEncoder::Prefixes::Prefixes(const Checkpoint& checkpoint)
    : vision_tower(find_prefix(checkpoint, kVisionPrefixes, "embeddings.class_embedding")),
      multi_modal_projector(find_prefix(checkpoint, kProjectorPrefixes, "linear_1.weight")),
      language_model(find_prefix(checkpoint, kTextPrefixes, "embed_tokens.weight")) {}

LlavaEncoder::LlavaEncoder(const Checkpoint& checkpoint, const Prefixes& prefixes, const LlavaConfig& c,
                           int64_t skipped_layers)
    : image_token(c.image_token),
      vision_tower(Weights(checkpoint, prefixes.vision_tower), c.vision, c.vision_layers),
      multi_modal_projector(Weights(checkpoint, prefixes.multi_modal_projector), c),
      language_model(Weights(checkpoint, prefixes.language_model), c.text, skipped_layers) {}

Part<LlavaEncoder> LlavaEncoder::part(const PartSource& source, int64_t skipped_layers) {
  const LlavaConfig config{source.config};
  return {source, {unneeded_keys(config, skipped_layers), block_prefixes()}, [=](const Weights& root) {
            return LlavaEncoder(root.checkpoint(), Prefixes(root.checkpoint()), config, skipped_layers);
          }};
}

std::vector<UnneededKey> LlavaEncoder::unneeded_keys(const LlavaConfig& c, int64_t skipped_layers) {
  std::vector<UnneededKey> keys{{"lm_head.weight", "prompts are encoded only"},
                                {"language_model.lm_head.weight", "prompts are encoded only"}};
  const auto add = [&](const std::vector<UnneededKey>& more) { keys.insert(keys.end(), more.begin(), more.end()); };
  for (const auto* prefix : kVisionPrefixes) add(ClipVisionTower::unneeded_keys(c.vision, c.vision_layers, prefix));
  for (const auto* prefix : kTextPrefixes) add(LlamaEncoder::unneeded_keys(c.text, skipped_layers, prefix));
  return keys;
}

std::vector<std::string> LlavaEncoder::block_prefixes() {
  std::vector<std::string> blocks;
  for (const auto* prefix : kTextPrefixes) blocks.push_back(std::string(prefix) + "layers.");
  return blocks;
}

Tensor LlavaEncoder::operator()(const Tensor& ids, const Tensor& pixels, const Progress& progress) const {
  const auto picture = multi_modal_projector(vision_tower(pixels, progress).slice(1, 1));  // [1, patches, C]
  if (ids.is_meta()) return language_model(language_model.embed_tokens(ids, pixels.scalar_type()), progress);
  const auto places = (ids == image_token).nonzero().select(1, 1);  // [patches] of the tokens
  if (places.size(0) != picture.size(1))
    throw Error(
        fmt::format("the text has {} tokens of a picture, the vision tower makes {}", places.size(0), picture.size(1)));
  // The image token itself may lie outside the vocabulary.
  auto x = language_model.embed_tokens(ids.masked_fill(ids == image_token, 0), pixels.scalar_type());
  x.index_copy_(1, places.to(x.device()), picture);
  return language_model(std::move(x), progress);
}

}  // namespace eav
