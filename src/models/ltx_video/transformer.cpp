#include "models/ltx_video/transformer.h"

#include <numbers>

#include "nn/attention.h"
#include "nn/planned.h"
#include "sampling/step_cache.h"

namespace eav::ltx_video {
namespace {

constexpr int64_t kTimestepChannels = 256;  // sinusoids of a timestep
constexpr double kQkNormEps = 1e-5;
constexpr double kTheta = 10000;                        // of the rotary embedding
constexpr double kBaseFrames = 20, kBasePixels = 2048;  // positions are told as parts of these
constexpr int64_t kAxes = 3;

// Angles of all tokens, for all channels of a token together. A third of them, interleaved, tells each axis.
Rope make_rope(int64_t channels, const Tensor& tokens) {
  const auto options = tokens.options();
  const auto positions = tokens / at::tensor({kBaseFrames, kBasePixels, kBasePixels}, options);  // [L, 3]
  const auto count = channels / (2 * kAxes);
  const auto frequencies = at::pow(kTheta, at::linspace(0, 1, count, options)) * std::numbers::pi / 2.0;
  const auto angles = (frequencies.unsqueeze(1) * (positions.unsqueeze(1) * 2 - 1)).flatten(1);  // [L, count * 3]
  const auto rest = channels % (2 * kAxes);  // channels that are not rotated; they come first
  const auto pairs = [&](const Tensor& x) { return x.repeat_interleave(2, 1); };
  return {at::constant_pad_nd(pairs(angles.cos()), {rest, 0}, 1),
          at::constant_pad_nd(pairs(angles.sin()), {rest, 0}, 0)};
}

}  // namespace

Attention::Attention(const Weights& w, const TransformerConfig& c)
    : heads(c.num_attention_heads),
      to_q(w / "to_q", c.channels(), c.channels()),
      to_k(w / "to_k", c.channels(), c.channels()),
      to_v(w / "to_v", c.channels(), c.channels()),
      to_out(w / "to_out" / 0, c.channels(), c.channels()),
      norm_q(w / "norm_q", c.channels(), kQkNormEps),
      norm_k(w / "norm_k", c.channels(), kQkNormEps) {}

SelfAttention::Output SelfAttention::operator()(const Tensor& x, const Rope& rope, int64_t conditions, int64_t layer,
                                                Step& step) const {
  const auto q = to_q(x), k = to_k(x);  // [B, L, C]
  norm_q(q.unsqueeze(2), &rope);
  norm_k(k.unsqueeze(2), &rope);
  auto [attended, gain] = attend(split_heads(q, heads), split_heads(k, heads), split_heads(to_v(x), heads),
                                 VideoLayer{layer, step, conditions});
  return {to_out(merge_heads(attended)), std::move(gain)};
}

Tensor CrossAttention::operator()(const Tensor& x, const Caption& caption) const {
  const auto q = to_q(x), k = to_k(caption.tokens), v = to_v(caption.tokens);
  norm_q(q.unsqueeze(2), nullptr);
  norm_k(k.unsqueeze(2), nullptr);
  const auto seen = caption.mask.unsqueeze(1).unsqueeze(1);  // [B, 1, 1, text_len]
  return to_out(
      merge_heads(attend(split_heads(q, heads), split_heads(k, heads), split_heads(v, heads), {.bias = seen})));
}

Tensor ModulatedNorm::operator()(const Tensor& x, const Modulation& m, int64_t scale, int64_t shift) const {
  const auto normed = rms_norm(x, weight, eps);
  const auto factors = m.rows[scale] + 1;  // [runs, C]
  m.each([&](int64_t run, int64_t first, int64_t n) {
    auto tokens = normed.narrow(1, first, n);
    at::addcmul_out(tokens, m.rows[shift][run], tokens, factors[run]);
  });
  return normed;
}

TransformerBlock::TransformerBlock(const Weights& w, const TransformerConfig& c, int64_t layer)
    : layer(layer),
      norm1(w / "norm1", c),
      norm2(w / "norm2", c),
      attn1(w / "attn1", c),
      attn2(w / "attn2", c),
      ff(w / "ff", c.channels(), 4 * c.channels(), Activation::gelu_tanh),
      scale_shift_table(w.load("scale_shift_table", {6, c.channels()})) {}

void TransformerBlock::operator()(const Tensor& x, const Inputs& in, Step& step) const {
  // Shift, scale and gate of the attention, then of the feed-forward.
  const Modulation m{(scale_shift_table.to(in.temb.scalar_type()) + in.temb).transpose(0, 1).contiguous(), in.tokens};
  {
    const auto [attended, gain] = attn1(norm1(x, m, 1, 0), in.rope, in.conditions, layer, step);
    m.each([&](int64_t run, int64_t first, int64_t n) {
      const auto gate = m.rows[2][run];
      x.narrow(1, first, n).addcmul_(attended.narrow(1, first, n), first < in.conditions ? gate : gain * gate);
    });
  }
  x.add_(attn2(x, in.caption));
  const auto y = ff(norm2(x, m, 4, 3));
  m.each([&](int64_t run, int64_t first, int64_t n) {
    x.narrow(1, first, n).addcmul_(y.narrow(1, first, n), m.rows[5][run]);
  });
}

Transformer::Transformer(const Weights& w, const TransformerConfig& c)
    : config_(c),
      proj_in_(w / "proj_in", c.in_channels, c.channels()),
      timestep_embedder_(w / "time_embed" / "emb" / "timestep_embedder", kTimestepChannels, c.channels()),
      time_linear_(w / "time_embed" / "linear", c.channels(), 6 * c.channels()),
      caption_linear_1_(w / "caption_projection" / "linear_1", c.caption_channels, c.channels()),
      caption_linear_2_(w / "caption_projection" / "linear_2", c.channels(), c.channels()),
      blocks_(w / "transformer_blocks", c.num_layers,
              [c](const Weights& w, int64_t i) { return TransformerBlock(w, c, i); }),
      scale_shift_table_(w.load("scale_shift_table", {2, c.channels()})),
      norm_out_(w / "norm_out", c.channels(), 1e-6),
      proj_out_(w / "proj_out", c.channels(), c.in_channels) {}

Transformer::Inputs Transformer::prepare(const Caption& caption, const Tensor& positions, int64_t conditions) const {
  const auto device = caption.tokens.device();
  const auto rope = make_rope(config_.channels(), positions.to(host_of(device)));
  return {{caption_linear_2_(caption_linear_1_.gelu_tanh(caption.tokens)), caption.mask},
          {rope.cos.to(device), rope.sin.to(device)},
          conditions};
}

Tensor Transformer::operator()(const Tensor& latents, const Timesteps& timesteps, const Inputs& inputs,
                               Step& step) const {
  const auto sinusoids =
      timestep_sinusoids(timesteps.values, kTimestepChannels, /*flip_sin_to_cos=*/true, /*freq_shift=*/0);
  const auto embedded = timestep_embedder_(sinusoids.to(latents.scalar_type()));         // [runs, C]
  const auto temb = time_linear_(at::silu(embedded)).view({-1, 6, config_.channels()});  // [runs, 6, C]
  const auto x = proj_in_(latents);                                                      // [B, L, C]
  const TransformerBlock::Inputs shared{inputs.caption, inputs.rope, inputs.conditions, temb, timesteps.tokens};
  run_blocks(x, step, blocks_, [&](const TransformerBlock& block) {
    step.progress.check();
    block(x, shared, step);
  });
  const auto table = scale_shift_table_.to(embedded.scalar_type());  // [2, C]: shift, scale
  const Modulation m{table.unsqueeze(1) + embedded, timesteps.tokens};
  m.each([&](int64_t run, int64_t first, int64_t n) {
    const auto tokens = x.narrow(1, first, n);
    tokens.copy_(norm_out_(tokens, m.rows[1][run], m.rows[0][run]));
  });
  return proj_out_(x);
}

}  // namespace eav::ltx_video
