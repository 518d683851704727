#include "text/llama.h"

#include <fmt/format.h>

#include <numbers>

#include "eav/error.h"
#include "nn/attention.h"
#include "weights/limits.h"

namespace eav {
namespace {

// Newer files hold all of the rotary embedding in one object; older ones have its base beside the scaling.
JsonFile rope_parameters(const JsonFile& json) {
  for (const auto* field : {"rope_scaling", "rope_parameters"})
    if (json.has(field)) return {json.path(), json.json().at(field)};
  return {json.path(), nlohmann::json::object()};
}

std::optional<LlamaConfig::RopeScaling> read_rope_scaling(const JsonFile& rope, int64_t positions) {
  const auto type = rope.get<std::string>("rope_type", rope.get<std::string>("type", "default"));
  if (type == "default") return std::nullopt;
  if (type != "llama3")
    throw Error(fmt::format("{}: the rotary embedding's \"rope_type\" is \"{}\"; default and llama3 are supported",
                            rope.path().string(), type));
  const LlamaConfig::RopeScaling scaling{
      .factor = rope.get<double>("factor"),
      .low_freq_factor = rope.get<double>("low_freq_factor"),
      .high_freq_factor = rope.get<double>("high_freq_factor"),
      .trained_positions = rope.count("original_max_position_embeddings", positions),
  };
  if (scaling.high_freq_factor <= scaling.low_freq_factor)
    throw Error(fmt::format("{}: \"high_freq_factor\" is {}, expected more than \"low_freq_factor\", which is {}",
                            rope.path().string(), scaling.high_freq_factor, scaling.low_freq_factor));
  return scaling;
}

// [d/2] in radians a token.
Tensor rope_frequencies(const LlamaConfig& c) {
  auto frequencies = 1.0 / at::pow(c.rope_theta, at::arange(0, c.head_dim, 2, at::kFloat) / c.head_dim);
  if (!c.rope_scaling) return frequencies;
  const auto& [factor, low, high, positions] = *c.rope_scaling;
  const auto turns = frequencies * (static_cast<double>(positions) / (2 * std::numbers::pi));
  const auto kept = ((turns - low) / (high - low)).clamp(0, 1);
  return frequencies * (kept + (1 - kept) / factor);
}

}  // namespace

LlamaConfig::LlamaConfig(const JsonFile& json)
    : channels(json.count("hidden_size")),
      heads(json.count("num_attention_heads")),
      kv_heads(json.count("num_key_value_heads", heads)),
      head_dim(json.count("head_dim", channels / heads)),
      hidden(json.count("intermediate_size")),
      layers(count_layers(json, "num_hidden_layers")),
      vocabulary(json.count("vocab_size")),
      norm_eps(json.get<double>("rms_norm_eps", 1e-6)) {
  const auto rope = rope_parameters(json);
  rope_theta = rope.get<double>("rope_theta", json.get<double>("rope_theta", 10000));
  rope_scaling = read_rope_scaling(rope, json.count("max_position_embeddings", 2048));
  if (const auto activation = json.get<std::string>("hidden_act", "silu"); activation != "silu")
    throw Error(fmt::format("{}: \"hidden_act\" is \"{}\", expected \"silu\"", json.path().string(), activation));
  if (heads % kv_heads != 0 || head_dim % 2 != 0)
    throw Error(fmt::format("{}: {} heads of {} channels with {} heads of keys and values are not supported",
                            json.path().string(), heads, head_dim, kv_heads));
}

Tensor LlamaRope::operator()(const Tensor& x) const {
  const auto halves = x.chunk(2, -1);
  const auto &real = halves[0], &imaginary = halves[1];  // [B, heads, L, d/2]
  return at::cat({real * cos - imaginary * sin, imaginary * cos + real * sin}, -1);
}

LlamaAttention::LlamaAttention(const Weights& w, const LlamaConfig& c)
    : heads(c.heads),
      kv_heads(c.kv_heads),
      q_proj(w / "q_proj", c.channels, c.heads * c.head_dim),
      k_proj(w / "k_proj", c.channels, c.kv_heads * c.head_dim),
      v_proj(w / "v_proj", c.channels, c.kv_heads * c.head_dim),
      o_proj(w / "o_proj", c.heads * c.head_dim, c.channels) {}

Tensor LlamaAttention::operator()(const Tensor& x, const LlamaRope& rope) const {
  const auto q = rope(split_heads(q_proj(x), heads)), k = rope(split_heads(k_proj(x), kv_heads));
  return o_proj(merge_heads(attend(q, k, split_heads(v_proj(x), kv_heads), {.causal = true})));
}

LlamaFeedForward::LlamaFeedForward(const Weights& w, const LlamaConfig& c)
    : gate_proj(w / "gate_proj", c.channels, c.hidden),
      up_proj(w / "up_proj", c.channels, c.hidden),
      down_proj(w / "down_proj", c.hidden, c.channels) {}

Tensor LlamaFeedForward::operator()(const Tensor& x) const { return down_proj(at::silu(gate_proj(x)) * up_proj(x)); }

LlamaBlock::LlamaBlock(const Weights& w, const LlamaConfig& c)
    : input_layernorm(w / "input_layernorm", c.channels, c.norm_eps),
      post_attention_layernorm(w / "post_attention_layernorm", c.channels, c.norm_eps),
      self_attn(w / "self_attn", c),
      mlp(w / "mlp", c) {}

Tensor LlamaBlock::operator()(Tensor x, const LlamaRope& rope) const {
  x = x + self_attn(input_layernorm(x), rope);
  return x + mlp(post_attention_layernorm(x));
}

LlamaEncoder::LlamaEncoder(const Weights& w, const LlamaConfig& c, int64_t skipped_layers)
    : frequencies(rope_frequencies(c)),
      embed_tokens(w / "embed_tokens", c.vocabulary, c.channels),
      blocks(w / "layers", c.layers - skipped_layers, [c](const Weights& w, int64_t) { return LlamaBlock(w, c); }) {
  if (skipped_layers == 0) norm.emplace(w / "norm", c.channels, c.norm_eps);
}

Part<LlamaEncoder> LlamaEncoder::part(const PartSource& source, int64_t skipped_layers) {
  const LlamaConfig config{source.config};
  if (skipped_layers < 0 || skipped_layers > config.layers)
    throw Error(fmt::format("{}: {} of {} layers cannot be skipped", source.config.path().string(), skipped_layers,
                            config.layers));
  return {source, {unneeded_keys(config, skipped_layers), {"model.layers.", "layers."}}, [=](const Weights& root) {
            const auto causal = root / "model";  // of a LlamaForCausalLM, which holds a LlamaModel
            return LlamaEncoder(causal.has("embed_tokens.weight") ? causal : root, config, skipped_layers);
          }};
}

std::vector<UnneededKey> LlamaEncoder::unneeded_keys(const LlamaConfig& c, int64_t skipped_layers) {
  std::vector<UnneededKey> keys{{"lm_head.weight", "prompts are encoded only"}};
  for (const auto* prefix : {"", "model."})
    for (auto& key : unneeded_keys(c, skipped_layers, prefix)) keys.push_back(std::move(key));
  return keys;
}

std::vector<UnneededKey> LlamaEncoder::unneeded_keys(const LlamaConfig& c, int64_t skipped_layers,
                                                     const std::string& prefix) {
  std::vector<UnneededKey> keys;
  const auto layer = [&](int64_t i) { return fmt::format("{}layers.{}.", prefix, i); };
  for (int64_t i = 0; i < c.layers; ++i)
    keys.push_back({layer(i) + "self_attn.rotary_emb.inv_freq", "computed; older files hold it"});
  for (auto i = c.layers - skipped_layers; i < c.layers; ++i)
    keys.push_back({layer(i) + "*", "the prompt is taken from a layer before it"});
  if (skipped_layers > 0) keys.push_back({prefix + "norm.weight", "belongs behind the last layer"});
  return keys;
}

Tensor LlamaEncoder::operator()(const Tensor& ids, at::ScalarType compute, const Progress& progress) const {
  return (*this)(embed_tokens(ids, compute), progress);
}

Tensor LlamaEncoder::operator()(Tensor x, const Progress& progress) const {
  const auto angles = at::outer(at::arange(x.size(1), at::kFloat), frequencies);  // [L, d/2]
  const LlamaRope rope{angles.cos().to(x.options()), angles.sin().to(x.options())};
  blocks.each([&](const LlamaBlock& block) {
    progress.check();
    x = block(std::move(x), rope);
  });
  return norm ? (*norm)(x) : x;
}

}  // namespace eav
