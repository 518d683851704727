#include "models/open_sora/transformer.h"

#include <cmath>

#include "nn/attention.h"
#include "sampling/step_cache.h"

namespace eav::open_sora {
namespace {

constexpr int64_t kTimestepChannels = 256;  // sinusoids of a timestep or a frame rate
constexpr double kEps = 1e-6;               // of every norm

// norm(x) * (1 + scale) + shift: x [B, T, S, C]; shift and scale [B, T or 1, C].
Tensor modulated_norm(const Tensor& x, const Tensor& shift, const Tensor& scale) {
  const auto normed = layer_norm(x, {}, {}, kEps);
  auto out = normed;
  return at::addcmul_out(out, shift.unsqueeze(2), normed, scale.unsqueeze(2) + 1);
}

TimestepEmbedding embedder(const Weights& w, int64_t channels) {
  return {Linear(w / "mlp" / 0, kTimestepChannels, channels), Linear(w / "mlp" / 2, channels, channels)};
}

}  // namespace

Attention::Attention(const Weights& w, const TransformerConfig& c, Axis axis)
    : axis(axis),
      heads(c.num_heads),
      q(Linear::of_several(w / "qkv", c.hidden_size, c.hidden_size, 0, 3)),
      k(Linear::of_several(w / "qkv", c.hidden_size, c.hidden_size, 1, 3)),
      v(Linear::of_several(w / "qkv", c.hidden_size, c.hidden_size, 2, 3)),
      proj(w / "proj", c.hidden_size, c.hidden_size) {
  if (!c.qk_norm) return;
  q_norm.emplace(w / "q_norm", c.head_dim(), kEps);
  k_norm.emplace(w / "k_norm", c.head_dim(), kEps);
}

Attention::Output Attention::operator()(const Tensor& x, const Rope& rope, int64_t layer, Step& step) const {
  const auto apart = [&](const Tensor& t) { return t.flatten(1, 2).unflatten(2, {heads, -1}); };  // [B, T*S, heads, d]
  const auto query = apart(q(x)), key = apart(k(x)), value = apart(v(x));
  const auto* turn = axis == Axis::time ? &rope : nullptr;
  const auto prepare = [&](const std::optional<QkNorm>& norm, const Tensor& t) {
    if (norm)
      (*norm)(t, turn);
    else if (turn)
      (*turn)(t);
  };
  prepare(q_norm, query);
  prepare(k_norm, key);
  const auto heads_first = [](const Tensor& t) { return t.transpose(1, 2); };  // [B, heads, T*S, d]
  auto [attended, gain] =
      axis == Axis::time
          ? attend_over_time(heads_first(query), heads_first(key), heads_first(value), VideoLayer{layer, step, 0})
          : Attended{attend_in_frames(heads_first(query), heads_first(key), heads_first(value), step.grid), Gain()};
  return {proj(merge_heads(attended)).view_as(x), std::move(gain)};
}

CrossAttention::CrossAttention(const Weights& w, const TransformerConfig& c)
    : heads(c.num_heads),
      q_linear(w / "q_linear", c.hidden_size, c.hidden_size),
      k(Linear::of_several(w / "kv_linear", c.hidden_size, c.hidden_size, 0, 2)),
      v(Linear::of_several(w / "kv_linear", c.hidden_size, c.hidden_size, 1, 2)),
      proj(w / "proj", c.hidden_size, c.hidden_size) {}

Tensor CrossAttention::operator()(const Tensor& x, const Captions& captions) const {
  const auto split = [&](const Tensor& t) { return split_heads(t.unsqueeze(0), heads); };  // [1, heads, L, d]
  const auto query = q_linear(x).flatten(1, 2);                                            // [B, T*S, C]
  const auto attended = at::empty_like(query);
  for (int64_t b = 0; b < x.size(0); ++b) {
    const auto& caption = captions[static_cast<size_t>(b)];
    attended[b].copy_(merge_heads(attend(split(query[b]), split(k(caption)), split(v(caption))))[0]);
  }
  return proj(attended).view_as(x);
}

Block::Block(const Weights& w, const TransformerConfig& c, Axis axis, int64_t layer)
    : layer(layer),
      attn(w / "attn", c, axis),
      cross_attn(w / "cross_attn", c),
      mlp(Linear(w / "mlp" / "fc1", c.hidden_size, c.mlp_channels),
          Linear(w / "mlp" / "fc2", c.mlp_channels, c.hidden_size), Activation::gelu_tanh),
      scale_shift_table(w.load("scale_shift_table", {6, c.hidden_size})) {}

void Block::operator()(const Tensor& x, const Inputs& in, Step& step) const {
  // Shift, scale and gate of the attention, then of the feed-forward: [B, T or 1, C] each.
  const auto m = (scale_shift_table.to(in.timesteps.scalar_type()) + in.timesteps).unbind(2);
  {
    const auto [attended, gain] = attn(modulated_norm(x, m[0], m[1]), in.rope, layer, step);
    x.addcmul_(attended, gain * m[2].unsqueeze(2));  // the gate: [B, T or 1, 1, C]
  }
  x.add_(cross_attn(x, in.captions));
  x.addcmul_(mlp(modulated_norm(x, m[3], m[4]).flatten(1, 2)).view_as(x), m[5].unsqueeze(2));
}

Transformer::Transformer(const Weights& w, const TransformerConfig& c)
    : config_(c),
      x_embedder_(
          Linear::of_patches(w / "x_embedder" / "proj", {c.hidden_size, c.in_channels, 1, c.patch_size, c.patch_size})),
      t_embedder_(embedder(w / "t_embedder", c.hidden_size)),
      fps_embedder_(embedder(w / "fps_embedder", c.hidden_size)),
      t_block_(w / "t_block" / 1, c.hidden_size, 6 * c.hidden_size),
      y_fc1_(w / "y_embedder" / "y_proj" / "fc1", c.caption_channels, c.hidden_size),
      y_fc2_(w / "y_embedder" / "y_proj" / "fc2", c.hidden_size, c.hidden_size),
      y_embedding_((w / "y_embedder").load("y_embedding", {c.model_max_length, c.caption_channels})),
      frequencies_((w / "rope").load("freqs", {c.head_dim() / 2})),
      spatial_blocks_(w / "spatial_blocks", c.depth,
                      [c](const Weights& w, int64_t i) { return Block(w, c, Axis::space, i); }),
      temporal_blocks_(w / "temporal_blocks", c.depth,
                       [c](const Weights& w, int64_t i) { return Block(w, c, Axis::time, i); }),
      scale_shift_table_((w / "final_layer").load("scale_shift_table", {2, c.hidden_size})),
      final_linear_(w / "final_layer" / "linear", c.hidden_size, c.patch_size * c.patch_size * c.out_channels) {}

Transformer::Inputs Transformer::prepare(const Captions& captions, const Video& video, int64_t height,
                                         int64_t width) const {
  Inputs inputs{.captions = {}, .fps = video.fps, .positions = {}};
  for (const auto& caption : captions) inputs.captions.push_back(y_fc2_(y_fc1_.gelu_tanh(caption)));
  const auto p = config_.patch_size;
  inputs.positions = positions(video, (height + p - 1) / p, (width + p - 1) / p).to(inputs.captions[0].options());
  return inputs;
}

Tensor Transformer::positions(const Video& video, int64_t rows, int64_t columns) const {
  // Positions shrink as the picture grows, and reach equally far down and to the right.
  const auto scale = std::sqrt(static_cast<double>(video.height * video.width)) / config_.input_sq_size;
  const auto side = std::round(std::sqrt(static_cast<double>(rows * columns)));
  const auto axis = [&](int64_t count) {
    const auto places = at::arange(count, at::kFloat) / scale * (side / static_cast<double>(count));
    return sincos_positions_1d(config_.hidden_size / 2, places);  // [count, C / 2]
  };
  return at::cat({axis(columns).unsqueeze(0).expand({rows, columns, -1}),
                  axis(rows).unsqueeze(1).expand({rows, columns, -1})},
                 2)
      .flatten(0, 1)
      .to(at::kFloat);
}

Tensor Transformer::operator()(const Tensor& latents, const Tensor& timesteps, const Inputs& inputs,
                               const std::optional<Tensor>& frame_mask, Step& step) const {
  const auto p = config_.patch_size, channels = config_.hidden_size;
  const auto frames = latents.size(2), height = latents.size(3), width = latents.size(4);
  const auto rows = (height + p - 1) / p, columns = (width + p - 1) / p;
  const auto type = latents.scalar_type();

  const auto fps = fps_embedder_(timestep_sinusoids(at::full({1}, inputs.fps, timesteps.options()), kTimestepChannels,
                                                    /*flip_sin_to_cos=*/true, /*freq_shift=*/0)
                                     .to(type));
  const auto embed_time = [&](const Tensor& t) {
    return t_embedder_(timestep_sinusoids(t, kTimestepChannels, true, 0).to(type)) + fps;  // [B, C]
  };
  const auto changing = embed_time(timesteps).unsqueeze(1);  // [B, 1, C]
  auto t = changing;
  Tensor given;
  if (frame_mask) {
    given = embed_time(at::zeros_like(timesteps)).unsqueeze(1);
    t = choose(frame_mask->unsqueeze(2), changing, given);  // [B, T, C]
  }
  const auto modulation = t_block_(at::silu(t)).unflatten(2, {6, channels});

  const auto padded = at::constant_pad_nd(latents, {0, columns * p - width, 0, rows * p - height});
  const auto patches = padded.unflatten(4, {columns, p}).unflatten(3, {rows, p});  // [B, in, T, rows, p, columns, p]
  auto x = x_embedder_(patches.permute({0, 2, 3, 5, 1, 4, 6}).flatten(4).flatten(2, 3));  // [B, T, S, C]
  x.add_(inputs.positions.to(type));

  const auto angles =
      at::outer(at::arange(frames, frequencies_.options().dtype(at::kFloat)), frequencies_.to(at::kFloat));
  const auto of_tokens = [&](const Tensor& a) {  // [T, d / 2] -> [T*S, d]
    return a.repeat_interleave(2, 1).repeat_interleave(rows * columns, 0);
  };
  const Rope rope{of_tokens(angles.cos()), of_tokens(angles.sin())};

  const Block::Inputs shared{inputs.captions, rope, modulation};
  const auto apply = [&](const Block& block) {
    step.progress.check();
    block(x, shared, step);
  };
  const auto pair = [&](int64_t i) {
    spatial_blocks_.one(i, apply);
    temporal_blocks_.one(i, apply);
  };
  run_blocks(
      x.flatten(1, 2), step, [&] { pair(0); },
      [&] {
        for (int64_t i = 1; i < config_.depth; ++i) pair(i);
      });

  const auto final_norm = [&](const Tensor& tokens, const Tensor& time) {
    const auto m = (scale_shift_table_.to(type) + time.unsqueeze(2)).unbind(2);  // shift, scale: [B, 1, C]
    return modulated_norm(tokens, m[0], m[1]);
  };
  x = final_norm(x, changing);
  // As the reference does: given frames are normed and modulated a second time.
  if (frame_mask) x = choose(frame_mask->unsqueeze(2).unsqueeze(3), x, final_norm(x, given));
  const auto out = final_linear_(x);  // [B, T, S, p * p * out]
  return out.view({-1, frames, rows, columns, p, p, config_.out_channels})
      .permute({0, 6, 1, 2, 4, 3, 5})
      .flatten(5, 6)
      .flatten(3, 4)
      .slice(3, 0, height)
      .slice(4, 0, width)
      .to(at::kFloat);
}

}  // namespace eav::open_sora
