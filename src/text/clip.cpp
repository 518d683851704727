#include "text/clip.h"

#include <fmt/format.h>

#include "eav/error.h"
#include "nn/attention.h"
#include "weights/limits.h"

namespace eav {

ClipBlockConfig::ClipBlockConfig(const JsonFile& json, bool causal)
    : channels(json.count("hidden_size")),
      heads(json.count("num_attention_heads")),
      hidden(json.count("intermediate_size")),
      layers(count_layers(json, "num_hidden_layers")),
      norm_eps(json.get<double>("layer_norm_eps", 1e-5)),
      causal(causal) {
  const auto activation = json.get<std::string>("hidden_act", "quick_gelu");
  quick_gelu = activation == "quick_gelu";
  if (!quick_gelu && activation != "gelu")
    throw Error(fmt::format("{}: \"hidden_act\" is \"{}\"; quick_gelu and gelu are supported", json.path().string(),
                            activation));
  if (channels % heads != 0)
    throw Error(fmt::format("{}: {} channels cannot be shared by {} heads", json.path().string(), channels, heads));
}

ClipConfig::ClipConfig(const JsonFile& json)
    : ClipBlockConfig(json, /*causal=*/true),
      vocabulary(json.count("vocab_size")),
      positions(json.count("max_position_embeddings", 77)),
      eos_token_id(json.get<int64_t>("eos_token_id", 49407)) {}

ClipAttention::ClipAttention(const Weights& w, const ClipBlockConfig& c)
    : heads(c.heads),
      causal(c.causal),
      q_proj(w / "q_proj", c.channels, c.channels),
      k_proj(w / "k_proj", c.channels, c.channels),
      v_proj(w / "v_proj", c.channels, c.channels),
      out_proj(w / "out_proj", c.channels, c.channels) {}

Tensor ClipAttention::operator()(const Tensor& x) const {
  const auto split = [&](const Tensor& t) { return split_heads(t, heads); };  // [B, heads, L, d]
  return out_proj(merge_heads(attend(split(q_proj(x)), split(k_proj(x)), split(v_proj(x)), {.causal = causal})));
}

ClipFeedForward::ClipFeedForward(const Weights& w, const ClipBlockConfig& c)
    : quick_gelu(c.quick_gelu), fc1(w / "fc1", c.channels, c.hidden), fc2(w / "fc2", c.hidden, c.channels) {}

Tensor ClipFeedForward::operator()(const Tensor& x) const {
  const auto hidden = fc1(x);
  return fc2(quick_gelu ? hidden * at::sigmoid(1.702 * hidden) : at::gelu(hidden));
}

ClipBlock::ClipBlock(const Weights& w, const ClipBlockConfig& c)
    : layer_norm1(w / "layer_norm1", c.channels, c.norm_eps),
      layer_norm2(w / "layer_norm2", c.channels, c.norm_eps),
      self_attn(w / "self_attn", c),
      mlp(w / "mlp", c) {}

Tensor ClipBlock::operator()(Tensor x) const {
  x = x + self_attn(layer_norm1(x));
  return x + mlp(layer_norm2(x));
}

ClipTextEncoder::ClipTextEncoder(const Weights& w, const ClipConfig& c)
    : token_embedding(w / "embeddings" / "token_embedding", c.vocabulary, c.channels),
      position_embedding(w / "embeddings" / "position_embedding", c.positions, c.channels),
      final_layer_norm(w / "final_layer_norm", c.channels, c.norm_eps),
      eos_token_id(c.eos_token_id) {
  for (int64_t i = 0; i < c.layers; ++i) blocks.emplace_back(w.quantised() / "encoder" / "layers" / i, c);
}

Part<ClipTextEncoder> ClipTextEncoder::part(const PartSource& source) {
  return {source, {unneeded_keys(), {}}, [config = source.config](const Weights& root) {
            const auto released = root / "text_model";  // transformers 5 saves without this prefix
            return ClipTextEncoder(released.has("final_layer_norm.weight") ? released : root, ClipConfig{config});
          }};
}

std::vector<UnneededKey> ClipTextEncoder::unneeded_keys() {
  return {
      {"text_model.embeddings.position_ids", "0, 1, 2 and on"},
      {"embeddings.position_ids", "0, 1, 2 and on"},
      {"text_projection.weight", "the pooled output is taken before it"},
  };
}

Tensor ClipTextEncoder::operator()(const Tensor& ids, at::ScalarType compute, const Progress& progress) const {
  const auto length = ids.size(1);
  if (length > position_embedding.rows())
    throw Error(fmt::format("a prompt of {} tokens is longer than the {} that the text encoder has positions for",
                            length, position_embedding.rows()));
  auto x = token_embedding(ids, compute) + position_embedding.row_slice(0, length).dense(compute);  // [B, L, C]
  for (const auto& block : blocks) {
    progress.check();
    x = block(std::move(x));
  }
  // An id of 2 in a configuration comes from times when it was not read: the end of a text had the largest id.
  const auto is_end = eos_token_id == 2 ? ids == ids.amax(-1, /*keepdim=*/true) : ids == eos_token_id;  // [B, L]
  const auto end = is_end.to(at::kInt).argmax(-1).to(x.device());                                       // the first
  return final_layer_norm(x.index({at::arange(x.size(0), end.options()), end}));
}

}  // namespace eav
