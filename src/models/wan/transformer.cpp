#include "models/wan/transformer.h"

#include <fmt/format.h>

#include "nn/attention.h"
#include "nn/planned.h"
#include "sampling/step_cache.h"

namespace eav::wan {
namespace {

constexpr double kTheta = 10000;        // of the rotary embedding
constexpr double kImageNormEps = 1e-5;  // of the norms around pictures' tokens
constexpr int64_t kShiftMsa = 0, kScaleMsa = 1, kGateMsa = 2, kShiftFfn = 3, kScaleFfn = 4, kGateFfn = 5;

// Normed in float32. The CPU's operator takes 16-bit tokens beside float32 weights, and needs no copy of them.
Tensor normed(const Tensor& x, const std::optional<Tensor>& weight, const std::optional<Tensor>& bias, double eps) {
  if (x.is_cpu() || x.is_meta() || x.scalar_type() == at::kFloat) return layer_norm(x, weight, bias, eps);
  return layer_norm(x.to(at::kFloat), weight, bias, eps).to(x.scalar_type());
}

// x += y * gate, in float32, some rows at a time where x is of another type; x and y [1, L, C], gate [C] float32.
void add_gated(const Tensor& x, const Tensor& y, const Tensor& gate) {
  if (x.scalar_type() == at::kFloat) {
    x.addcmul_(y, gate);
    return;
  }
  for (int64_t begin = 0; begin < x.size(1); begin += FeedForward::kRows) {
    const auto rows = [&](const Tensor& t) { return t.slice(1, begin, begin + FeedForward::kRows); };
    rows(x).copy_(at::addcmul(rows(x).to(at::kFloat), rows(y).to(at::kFloat), gate));
    if (x.is_meta()) break;  // of a plan: other rows take as much memory
  }
}

}  // namespace

// ---- the blocks -----------------------------------------------------------------------------------------------------

Tensor Float32LayerNorm::operator()(const Tensor& x) const { return normed(x, weight, bias, eps); }

Tensor Float32LayerNorm::operator()(const Tensor& x, const Modulation& m, int64_t scale, int64_t shift) const {
  const auto of_run = [&](const Tensor& tokens, int64_t run) {
    return normed(tokens, m.rows[scale][run] + 1, m.rows[shift][run], eps);
  };
  if (m.tokens.size() == 1) return of_run(x, 0);
  const auto y = at::empty_like(x);
  m.each(
      [&](int64_t run, int64_t first, int64_t n) { y.narrow(1, first, n).copy_(of_run(x.narrow(1, first, n), run)); });
  return y;
}

SelfAttention::SelfAttention(const Weights& w, const TransformerConfig& c)
    : heads(c.num_attention_heads),
      to_q(w / "to_q", c.channels(), c.channels()),
      to_k(w / "to_k", c.channels(), c.channels()),
      to_v(w / "to_v", c.channels(), c.channels()),
      to_out(w / "to_out" / 0, c.channels(), c.channels()),
      norm_q(w / "norm_q", c.channels(), c.eps),
      norm_k(w / "norm_k", c.channels(), c.eps) {}

SelfAttention::Output SelfAttention::operator()(Tensor x, const Rope& rope, int64_t layer, Step& step) const {
  auto attended = [&] {
    const auto q = to_q(x), k = to_k(x), v = to_v(x);  // [1, T*S, C]
    x.reset();
    norm_q(q, &rope);
    norm_k(k, &rope);
    return attend(split_heads(q, heads), split_heads(k, heads), split_heads(v, heads), VideoLayer{layer, step, 0});
  }();
  return {to_out(merge_heads(attended.tokens)), std::move(attended.gain)};
}

CrossAttention::CrossAttention(const Weights& w, const TransformerConfig& c)
    : heads(c.num_attention_heads),
      to_q(w / "to_q", c.channels(), c.channels()),
      to_k(w / "to_k", c.channels(), c.channels()),
      to_v(w / "to_v", c.channels(), c.channels()),
      to_out(w / "to_out" / 0, c.channels(), c.channels()),
      norm_q(w / "norm_q", c.channels(), c.eps),
      norm_k(w / "norm_k", c.channels(), c.eps) {
  if (c.image_dim)
    added = {Linear(w / "add_k_proj", c.channels(), c.channels()), Linear(w / "add_v_proj", c.channels(), c.channels()),
             QkNormAcrossHeads(w / "norm_added_k", c.channels(), c.eps)};
}

Tensor CrossAttention::operator()(const Tensor& x, const Context& context) const {
  const auto split = [&](const Tensor& t) { return split_heads(t, heads); };
  const auto q = to_q(x), k = to_k(context.text);  // [1, T*S, C] and [1, 512, C]
  norm_q(q, nullptr);
  norm_k(k, nullptr);
  const auto attended = merge_heads(attend(split(q), split(k), split(to_v(context.text))));
  if (added) {
    const auto k_image = added->k_proj(context.image);
    added->norm_k(k_image, nullptr);
    attended.add_(merge_heads(attend(split(q), split(k_image), split(added->v_proj(context.image)))));
  }
  return to_out(attended);
}

TransformerBlock::TransformerBlock(const Weights& w, const TransformerConfig& c, int64_t layer)
    : layer(layer),
      norm1(c.eps),
      norm3(c.eps),
      attn1(w / "attn1", c),
      attn2(w / "attn2", c),
      ffn(w / "ffn", c.channels(), c.ffn_dim, Activation::gelu_tanh),
      scale_shift_table(w.in(at::kFloat).load("scale_shift_table", {1, 6, c.channels()})[0]) {
  if (c.cross_attn_norm) norm2.emplace(w / "norm2", c.channels(), c.eps);
}

void TransformerBlock::operator()(const Tensor& x, const Inputs& in, Step& step) const {
  const Modulation m{(scale_shift_table + in.timestep_proj).transpose(0, 1).contiguous(), in.tokens};
  {
    const auto [attended, gain] = attn1(norm1(x, m, kScaleMsa, kShiftMsa), in.rope, layer, step);
    m.each([&, &attended = attended, &gain = gain](int64_t run, int64_t first, int64_t n) {
      const auto gate = (gain * m.rows[kGateMsa][run]).flatten();  // [C]
      add_gated(x.narrow(1, first, n), attended.narrow(1, first, n), gate);
    });
  }
  x.add_(attn2(norm2 ? (*norm2)(x) : x, in.context));
  const auto y = ffn(norm3(x, m, kScaleFfn, kShiftFfn));
  m.each([&](int64_t run, int64_t first, int64_t n) {
    add_gated(x.narrow(1, first, n), y.narrow(1, first, n), m.rows[kGateFfn][run]);
  });
}

// ---- the model ------------------------------------------------------------------------------------------------------

ImageEmbedding::ImageEmbedding(const Weights& w, const TransformerConfig& c)
    : norm1(w / "norm1", *c.image_dim, kImageNormEps),
      in(w / "ff" / "net" / 0 / "proj", *c.image_dim, *c.image_dim),
      out(w / "ff" / "net" / 2, *c.image_dim, c.channels()),
      norm2(w / "norm2", c.channels(), kImageNormEps) {
  if (c.pos_embed_seq_len) pos_embed = w.load("pos_embed", {1, *c.pos_embed_seq_len, *c.image_dim});
}

Tensor ImageEmbedding::operator()(const Tensor& pictures) const {
  auto x = pictures.flatten(0, 1).unsqueeze(0);  // [1, tokens, image_dim]
  if (pos_embed) x = x + pos_embed->to(x.scalar_type());
  return norm2(out(at::gelu(in(norm1(x)))));
}

Transformer::Transformer(const Weights& w, const TransformerConfig& c)
    : config_(c),
      patch_embedding_(Linear::of_patches(
          w / "patch_embedding", {c.channels(), c.in_channels, c.patch_size[0], c.patch_size[1], c.patch_size[2]})),
      time_embedder_(w.in(at::kFloat) / "condition_embedder" / "time_embedder", c.freq_dim, c.channels()),
      time_proj_(w / "condition_embedder" / "time_proj", c.channels(), 6 * c.channels()),
      text_linear_1_(w / "condition_embedder" / "text_embedder" / "linear_1", c.text_dim, c.channels()),
      text_linear_2_(w / "condition_embedder" / "text_embedder" / "linear_2", c.channels(), c.channels()),
      blocks_(w / "blocks", c.num_layers, [c](const Weights& w, int64_t i) { return TransformerBlock(w, c, i); }),
      norm_out_(c.eps),
      scale_shift_table_(w.in(at::kFloat).load("scale_shift_table", {1, 2, c.channels()})[0]),
      proj_out_(w / "proj_out", c.channels(), c.out_channels * c.patch_size[0] * c.patch_size[1] * c.patch_size[2]) {
  if (c.image_dim) image_embedder_.emplace(w / "condition_embedder" / "image_embedder", c);
}

Rope Transformer::rope(int64_t frames, int64_t height, int64_t width, at::Device device) const {
  // A sixth of the pairs of a head's channels each tell row and column, those that are left the frame.
  const int64_t d = config_.attention_head_dim, spatial = d / 6 * 2, temporal = d - 2 * spatial;
  const auto options = at::TensorOptions(at::kDouble).device(host_of(device));
  const auto axis = [&](int64_t dim, size_t i, int64_t n) {
    return RopeAxis{dim, at::arange(n / config_.patch_size[i], options)};
  };
  const auto rope = rope_3d(axis(temporal, 0, frames), axis(spatial, 1, height), axis(spatial, 2, width), kTheta);
  return {rope.cos.to(device), rope.sin.to(device)};
}

Context Transformer::context(const Tensor& text, const Tensor& pictures) const {
  Context context{text_linear_2_(text_linear_1_.gelu_tanh(text))};
  if (image_embedder_) context.image = (*image_embedder_)(pictures);
  return context;
}

Tensor Transformer::operator()(const Tensor& latents, const Timesteps& timesteps, const Context& context,
                               const Rope& rope, Step& step) const {
  const auto type = latents.scalar_type();
  const auto sinusoids =
      timestep_sinusoids(timesteps.values, config_.freq_dim, /*flip_sin_to_cos=*/true, /*freq_shift=*/0);
  const auto temb = time_embedder_(sinusoids).to(type);  // [runs, C]
  const auto timestep_proj =
      time_proj_(at::silu(temb)).to(at::kFloat).view({-1, 6, config_.channels()});  // [runs, 6, C]
  const auto x = patch_embedding_(patchify(latents, config_.patch_size));           // [1, T*S, C]
  const TransformerBlock::Inputs shared{context, rope, timestep_proj, timesteps.tokens};
  run_blocks(x, step, blocks_, [&](const TransformerBlock& block) {
    step.progress.check();
    block(x, shared, step);
  });
  const Modulation m{scale_shift_table_.unsqueeze(1) + temb.to(at::kFloat), timesteps.tokens};  // [2, runs, C]
  return unpatchify(proj_out_(norm_out_(x, m, 1, 0)), latents.sizes());
}

Tensor Transformer::unpatchify(const Tensor& tokens, at::IntArrayRef shape) const {
  const auto& p = config_.patch_size;
  return tokens.reshape({1, shape[2] / p[0], shape[3] / p[1], shape[4] / p[2], p[0], p[1], p[2], config_.out_channels})
      .permute({0, 7, 1, 4, 2, 5, 3, 6})  // [1, out, T, p_t, h/p_h, p_h, w/p_w, p_w]
      .reshape({1, config_.out_channels, shape[2], shape[3], shape[4]});
}

std::vector<UnneededKey> Transformer::unneeded_keys(const TransformerConfig& c) {
  std::vector<UnneededKey> keys;
  for (int64_t i = 0; c.image_dim && i < c.num_layers; ++i)
    keys.push_back({fmt::format("blocks.{}.attn2.norm_added_q.weight", i), "queries are normed once for all keys"});
  return keys;
}

}  // namespace eav::wan
