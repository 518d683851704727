#include "text/t5.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "eav/error.h"
#include "nn/attention.h"
#include "nn/planned.h"
#include "text/original_names.h"
#include "weights/limits.h"

namespace eav {
namespace {

Tensor activate(T5Config::Activation activation, const Tensor& x) {
  switch (activation) {
    case T5Config::Activation::relu:
      return at::relu(x);
    case T5Config::Activation::gelu:
      return at::gelu(x);
    case T5Config::Activation::gelu_tanh:
      return at::gelu(x, "tanh");
    case T5Config::Activation::silu:
      return at::silu(x);
  }
  TORCH_INTERNAL_ASSERT(false, "unknown activation");
}

// T5 was trained in bfloat16; in float16 its sums may overflow, and are then kept just below the largest number.
Tensor without_infinity(const Tensor& x) {
  if (x.scalar_type() != at::kHalf || x.is_meta()) return x;
  constexpr double kLimit = 65504 - 1000;
  return at::where(x.isinf().any(), x.clamp(-kLimit, kLimit), x);
}

}  // namespace

T5Config::T5Config(const JsonFile& json)
    : channels(json.count("d_model")),
      head_dim(json.count("d_kv")),
      heads(json.count("num_heads")),
      hidden(json.count("d_ff")),
      layers(count_layers(json, "num_layers")),
      vocabulary(json.count("vocab_size")),
      buckets(json.count("relative_attention_num_buckets", 32)),
      max_distance(json.count("relative_attention_max_distance", 128)),
      norm_eps(json.get<double>("layer_norm_epsilon", 1e-6)),
      umt5(json.get<std::string>("model_type", "t5") == "umt5") {
  const auto projection = json.get<std::string>("feed_forward_proj", "relu");
  gated = projection.starts_with("gated-");
  const auto name = gated ? projection.substr(6) : projection;
  if (name == "relu")
    activation = Activation::relu;
  else if (name == "gelu_new" || projection == "gated-gelu")  // so since the first v1.1 checkpoints, whatever it says
    activation = Activation::gelu_tanh;
  else if (name == "gelu")
    activation = Activation::gelu;
  else if (name == "silu")
    activation = Activation::silu;
  else
    throw Error(
        fmt::format("{}: \"feed_forward_proj\" is \"{}\"; relu, gelu, gelu_new and silu are supported, each also "
                    "with \"gated-\" before it",
                    json.path().string(), projection));
  if (buckets < 4 || max_distance <= buckets / 4)
    throw Error(fmt::format("{}: {} buckets for distances up to {} are not supported", json.path().string(), buckets,
                            max_distance));
}

Tensor T5PositionBias::operator()(int64_t length, at::ScalarType compute) const {
  const auto offset = at::arange(1 - length, length, at::kLong);  // [2L - 1], of the key from the query
  const auto distance = offset.abs();

  // Near tokens have a bucket for each distance; farther ones share buckets that widen with the logarithm.
  const auto side = buckets / 2, near = side / 2;
  const auto scale = std::log(static_cast<double>(max_distance) / static_cast<double>(near));
  const auto steps = at::log(distance.clamp_min(1).to(at::kFloat) / near) / scale * (side - near);
  const auto far = (steps.to(at::kLong) + near).clamp_max(side - 1);
  const auto bucket = (offset > 0).to(at::kLong) * side + choose(distance < near, distance, far);
  const auto of_offset = table.look_up(bucket.to(table.device()), compute).t().contiguous();  // [heads, 2L - 1]
  // The first query sees the last L of the offsets, and every other one begins an offset earlier.
  const auto from_last = of_offset.unfold(1, length, 1);  // [heads, L, L]
  return (from_last.is_meta() ? at::empty_like(from_last, at::MemoryFormat::Contiguous) : from_last.flip(1))
      .unsqueeze(0);
}

T5Attention::T5Attention(const Weights& w, const T5Config& c)
    : heads(c.heads),
      q(w / "q", c.channels, c.heads * c.head_dim),
      k(w / "k", c.channels, c.heads * c.head_dim),
      v(w / "v", c.channels, c.heads * c.head_dim),
      o(w / "o", c.heads * c.head_dim, c.channels) {}

Tensor T5Attention::operator()(const Tensor& x, const Tensor& bias) const {
  const auto split = [&](const Tensor& t) { return split_heads(t, heads); };  // [B, heads, L, d]
  // Scores are not divided by sqrt(d): the initialisation of T5 accounts for it.
  return o(merge_heads(attend(split(q(x)), split(k(x)), split(v(x)), {.bias = bias, .scale = 1.0})));
}

T5FeedForward::T5FeedForward(const Weights& w, const T5Config& c)
    : activation(c.activation),
      in(w / (c.gated ? "wi_0" : "wi"), c.channels, c.hidden),
      gate(c.gated ? std::optional<Linear>(std::in_place, w / "wi_1", c.channels, c.hidden) : std::nullopt),
      out(w / "wo", c.hidden, c.channels) {}

Tensor T5FeedForward::operator()(const Tensor& x) const {
  auto hidden = activate(activation, in(x));
  if (gate) hidden = hidden * (*gate)(x);
  // The last projection would overflow in float16, so it and all sums after it are in float32.
  return out(x.scalar_type() == at::kHalf ? hidden.to(at::kFloat) : hidden);
}

namespace {

T5PositionBias read_position_bias(const Weights& block, const T5Config& c) {
  return {block.quantised(Weights::Rounding::none) / "layer" / 0 / "SelfAttention" / "relative_attention_bias", c};
}

}  // namespace

T5Block::T5Block(const Weights& w, const T5Config& c)
    : norm1(w / "layer" / 0 / "layer_norm", c.channels, c.norm_eps),
      norm2(w / "layer" / 1 / "layer_norm", c.channels, c.norm_eps),
      position_bias(c.umt5 ? std::optional(read_position_bias(w, c)) : std::nullopt),
      attention(w / "layer" / 0 / "SelfAttention", c),
      feed_forward(w / "layer" / 1 / "DenseReluDense", c) {}

Tensor T5Block::operator()(Tensor x, const Tensor& bias, at::ScalarType compute) const {
  x = without_infinity(x + attention(norm1(x, compute), bias));
  return without_infinity(x + feed_forward(norm2(x, compute)));
}

T5Encoder::T5Encoder(const Weights& w, const T5Config& c)
    : embedding(w.has("shared.weight") ? w / "shared" : w / "encoder" / "embed_tokens", c.vocabulary, c.channels),
      position_bias(c.umt5 ? std::nullopt : std::optional(read_position_bias(w / "encoder" / "block" / 0, c))),
      blocks(w / "encoder" / "block", c.layers, [c](const Weights& w, int64_t) { return T5Block(w, c); }),
      norm(w / "encoder" / "final_layer_norm", c.channels, c.norm_eps) {}

Part<T5Encoder> T5Encoder::part(const PartSource& source) {
  return {source.named(llama_cpp_t5_names),
          {unneeded_keys(), {"encoder.block."}},
          [config = T5Config(source.config)](const Weights& w) { return T5Encoder(w, config); }};
}

std::vector<UnneededKey> T5Encoder::unneeded_keys() {
  return {
      {"decoder.*", "prompts are encoded only"},
      {"lm_head.weight", "belongs to the decoder"},
      {"encoder.embed_tokens.weight", "a copy of shared.weight"},
      {"spiece_model", "the tokenizer"},
  };
}

Tensor T5Encoder::operator()(const Tensor& ids, const std::optional<Tensor>& mask, at::ScalarType compute,
                             const Progress& progress) const {
  auto x = embedding(ids, compute);                               // [B, L, C]
  const auto masked = [&](const T5PositionBias& position_bias) {  // [1 or B, heads, L, L]
    auto bias = position_bias(ids.size(1), compute);
    if (!mask) return bias;
    const double lowest = compute == at::kHalf ? -65504 : -3.3895313892515355e38;  // the latter also fits in bfloat16
    return bias.masked_fill(mask->logical_not().to(bias.device()).unsqueeze(1).unsqueeze(1), lowest);
  };
  const auto shared = position_bias ? masked(*position_bias) : Tensor();
  blocks.each([&](const T5Block& block) {
    progress.check();
    x = block(std::move(x), block.position_bias ? masked(*block.position_bias) : shared, compute);
  });
  return norm(x, compute);
}

Tensor encode_without_padding(const T5Encoder& encoder, const Prompt& prompt, at::ScalarType compute,
                              const Progress& progress) {
  const auto length = prompt.ids.size(1), used = prompt.mask.sum().item<int64_t>();
  const auto embeddings = encoder(prompt.ids.slice(1, 0, used), std::nullopt, compute, progress);  // [1, used, C]
  return at::constant_pad_nd(embeddings, {0, 0, 0, length - used});
}

}  // namespace eav
