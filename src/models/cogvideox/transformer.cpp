#include "models/cogvideox/transformer.h"

#include <cmath>

#include "nn/attention.h"
#include "nn/planned.h"
#include "sampling/step_cache.h"

namespace eav::cogvideox {
namespace {

// Rotary positions of a grid of patches. CogVideoX stretches a grid of another shape than the trained one over it;
// CogVideoX 1.5 counts patches as they are.
Rope make_rope(const TransformerConfig& c, int64_t frames, int64_t height, int64_t width, at::Device device) {
  const auto options = at::TensorOptions(at::kFloat).device(device);
  const auto rope = [&](const Tensor& rows, const Tensor& columns) {
    const int64_t temporal = c.attention_head_dim / 4, spatial = c.attention_head_dim / 8 * 3;
    return rope_3d({temporal, at::arange(frames, options)}, {spatial, rows}, {spatial, columns}, 10000);
  };
  if (c.patch_size_t) return rope(at::arange(height, options), at::arange(width, options));

  const auto trained_width = c.sample_width / c.patch_size, trained_height = c.sample_height / c.patch_size;
  const auto base_width = static_cast<double>(trained_width), base_height = static_cast<double>(trained_height);
  const double h = static_cast<double>(height), w = static_cast<double>(width);
  // Rounds half to even, as Python does; the arithmetic is written in the reference's order.
  const bool tall = h / w > base_height / base_width;
  const double resized_height = tall ? base_height : std::nearbyint(base_width / w * h);
  const double resized_width = tall ? std::nearbyint(base_height / h * w) : base_width;
  const double top = std::nearbyint((base_height - resized_height) / 2.0),
               left = std::nearbyint((base_width - resized_width) / 2.0);
  const auto axis = [&](double start, double stop, int64_t n) {
    return at::linspace(start, stop * static_cast<double>(n - 1) / static_cast<double>(n), n, options);
  };
  return rope(axis(top, top + resized_height, height), axis(left, left + resized_width, width));
}

}  // namespace

AdaLayerNormZero::Output AdaLayerNormZero::operator()(const Tokens& x, const Tensor& temb) const {
  const auto m = linear(at::silu(temb)).squeeze(0).chunk(6);  // shift, scale, gate: video, then text; each [C]
  return {at::cat({norm(x.text(), m[4], m[3]), norm(x.video(), m[1], m[0])}, 1), m[5], m[2]};
}

Attention::Attention(const Weights& w, const TransformerConfig& c)
    : heads(c.num_attention_heads),
      to_q(w / "to_q", c.channels(), c.channels()),
      to_k(w / "to_k", c.channels(), c.channels()),
      to_v(w / "to_v", c.channels(), c.channels()),
      to_out(w / "to_out" / 0, c.channels(), c.channels()),
      norm_q(w / "norm_q", c.attention_head_dim, 1e-6),
      norm_k(w / "norm_k", c.attention_head_dim, 1e-6) {}

Attention::Output Attention::operator()(const Tensor& tokens, int64_t text_len, const std::optional<Rope>& rope,
                                        int64_t layer, Step& step) const {
  const auto apart = [&](const Tensor& x) { return x.unflatten(-1, {heads, -1}); };  // [B, L, heads, d]
  const auto q = norm_q(apart(to_q(tokens))), k = norm_k(apart(to_k(tokens))), v = apart(to_v(tokens));
  if (rope) {
    (*rope)(q.slice(1, text_len));
    (*rope)(k.slice(1, text_len));
  }
  auto [attended, gain] =
      attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), VideoLayer{layer, step, text_len});
  return {to_out(merge_heads(attended)), std::move(gain)};
}

void Block::operator()(Tokens& x, const Tensor& temb, const std::optional<Rope>& rope, Step& step) const {
  {
    const auto [normed, text_gate, video_gate] = norm1(x, temb);
    const auto [attended, gain] = attn(normed, x.text_len, rope, layer, step);
    x.text().addcmul_(attended.slice(1, 0, x.text_len), text_gate);
    x.video().addcmul_(attended.slice(1, x.text_len), gain * video_gate);
  }
  const auto [normed, text_gate, video_gate] = norm2(x, temb);
  const auto fed = ff(normed);
  x.text().addcmul_(fed.slice(1, 0, x.text_len), text_gate);
  x.video().addcmul_(fed.slice(1, x.text_len), video_gate);
}

PatchEmbed::PatchEmbed(const Weights& w, const TransformerConfig& c)
    : proj(c.patch_size_t
               ? Matrix(w / "proj", c.channels(), c.in_channels * *c.patch_size_t * c.patch_size * c.patch_size)
               : Matrix::of_patches(w / "proj", {c.channels(), c.in_channels, c.patch_size, c.patch_size})),
      bias(w.optional("proj.bias", {c.channels()})),
      text_proj(w / "text_proj", c.text_embed_dim, c.channels()) {
  if (!c.learned_positions) return;
  const int64_t frames = (c.sample_frames - 1) / c.temporal_compression_ratio + 1;
  const int64_t tokens = frames * (c.sample_height / c.patch_size) * (c.sample_width / c.patch_size);
  learned = w.load("pos_embedding", {1, c.max_text_seq_length + tokens, c.channels()})[0];
}

Tensor PatchEmbed::operator()(const Tensor& latents, const TransformerConfig& c) const {
  const auto type = latents.scalar_type();
  const auto w = proj.dense(type);
  const auto b = bias ? std::optional(bias->to(type)) : std::nullopt;
  if (!c.patch_size_t)
    return conv2d_of_patches(latents.flatten(0, 1), w.view({-1, c.in_channels, c.patch_size, c.patch_size}), b,
                             c.patch_size)  // [B*F, C, h/p, w/p]
        .unflatten(0, {latents.size(0), latents.size(1)})
        .flatten(3)
        .transpose(2, 3)
        .flatten(1, 2);
  const auto patches = latents
                           .permute({0, 1, 3, 4, 2})  // [B, F, h, w, in]
                           .unflatten(3, {-1, c.patch_size})
                           .unflatten(2, {-1, c.patch_size})
                           .unflatten(1, {-1, *c.patch_size_t})  // [B, T, p_t, h/p, p, w/p, p, in]
                           .permute({0, 1, 3, 5, 7, 2, 4, 6})
                           .flatten(4)
                           .flatten(1, 3);
  return at::linear(patches, w, b);
}

Transformer::Transformer(const Weights& w, const TransformerConfig& c)
    : config_(c),
      patch_embed_(w / "patch_embed", c),
      time_embedding_(w / "time_embedding", c.channels(), c.time_embed_dim),
      blocks_(w / "transformer_blocks", c.num_layers, [c](const Weights& w, int64_t i) { return Block(w, c, i); }),
      norm_final_(w / "norm_final", c.channels(), c.norm_eps),
      norm_out_linear_(w / "norm_out" / "linear", c.time_embed_dim, 2 * c.channels()),
      norm_out_(w / "norm_out" / "norm", c.channels(), c.norm_eps),
      proj_out_(w / "proj_out", c.channels(),
                c.patch_size * c.patch_size * c.patch_size_t.value_or(1) * c.in_channels) {}

std::vector<UnneededKey> Transformer::unneeded_keys() {
  return {{"patch_embed.pos_embedding", "sine-cosine positions are computed for the size at hand"}};
}

Transformer::Inputs Transformer::prepare(const Tensor& text_embeds, int64_t frames, int64_t height,
                                         int64_t width) const {
  const auto& c = config_;
  const int64_t rows = height / c.patch_size, columns = width / c.patch_size;
  Inputs inputs{.text = patch_embed_.text_proj(text_embeds),
                .positions = {},
                .rope = {},
                .grid = {c.token_frames(frames), rows * columns}};
  const auto options = inputs.text.options();

  if (c.rotary_positions) {
    const auto rope = make_rope(c, inputs.grid.frames, rows, columns, host_of(options.device()));
    inputs.rope = Rope{rope.cos.to(options.device()), rope.sin.to(options.device())};
  }
  if (!c.rotary_positions || c.learned_positions) {
    // Learned positions serve the trained length alone; diffusers computes others, as for a model without any.
    const bool trained_length = frames == (c.sample_frames - 1) / c.temporal_compression_ratio + 1 &&
                                c.sample_frames == (frames - 1) * c.temporal_compression_ratio + 1;
    inputs.positions =
        patch_embed_.learned && trained_length
            ? patch_embed_.learned->slice(0, c.max_text_seq_length)
            : sincos_positions_3d(c.channels(), inputs.grid.frames, rows, columns, c.spatial_interpolation_scale,
                                  c.temporal_interpolation_scale, host_of(options.device()));
    inputs.positions = inputs.positions.to(options);
    if (patch_embed_.learned && trained_length)
      inputs.text = inputs.text + patch_embed_.learned->slice(0, 0, c.max_text_seq_length).to(options);
  }
  return inputs;
}

Tensor Transformer::operator()(const Tensor& latents, int64_t timestep, const Inputs& inputs, Step& step) const {
  const auto& c = config_;
  const auto type = latents.scalar_type();
  const auto t = at::full({1}, timestep, latents.options().dtype(at::kLong));
  const auto temb =
      time_embedding_(timestep_sinusoids(t, c.channels(), c.flip_sin_to_cos, c.freq_shift).to(type));  // [1, time]

  auto video = patch_embed_(latents, c);  // [B, T*S, C]
  if (inputs.positions.defined()) video = video + inputs.positions;
  Tokens x{at::cat({inputs.text, video}, 1), inputs.text.size(1)};

  run_blocks(x.video(), step, blocks_, [&](const Block& block) {
    step.progress.check();
    block(x, temb, inputs.rope, step);
  });

  const auto m = norm_out_linear_(at::silu(temb)).squeeze(0).chunk(2);  // shift, scale
  const auto out = proj_out_(norm_out_(norm_final_(x.video()), m[1], m[0]));
  return unpatchify(out, latents.sizes());
}

Tensor Transformer::unpatchify(const Tensor& tokens, at::IntArrayRef shape) const {
  const int64_t B = shape[0], F = shape[1], h = shape[3], w = shape[4], p = config_.patch_size,
                p_t = config_.patch_size_t.value_or(1);
  return tokens.reshape({B, F / p_t, h / p, w / p, config_.in_channels, p_t, p, p})
      .permute({0, 1, 5, 4, 2, 6, 3, 7})  // [B, T, p_t, out, h/p, p, w/p, p]
      .reshape(shape);
}

}  // namespace eav::cogvideox
