#include "models/hunyuan_video/transformer.h"

#include <algorithm>

#include "nn/attention.h"
#include "nn/patches.h"
#include "nn/planned.h"
#include "sampling/step_cache.h"

namespace eav::hunyuan_video {
namespace {

constexpr double kNormEps = 1e-6;           // of every norm
constexpr int64_t kTimestepChannels = 256;  // sinusoids of a timestep or a guidance scale
constexpr int64_t kRefinerRatio = 4;        // hidden channels of the refiner's feed-forward layers to C
constexpr double kGuidanceScale = 1000;     // guidance is embedded like a timestep

Tensor sinusoids(const Tensor& value, at::ScalarType type) {
  return timestep_sinusoids(value, kTimestepChannels, /*flip_sin_to_cos=*/true, /*freq_shift=*/0).to(type);
}

Projections projections(const Weights& w, const TransformerConfig& c, const std::string& prefix,
                        const std::string& suffix, const std::string& norm) {
  const auto name = [&](const char* what) { return w / (prefix + what + suffix); };
  const auto project = [&](const char* what) { return Linear(name(what), c.channels(), c.channels()); };
  return {project("q"), project("k"), project("v"), QkNorm(w / (norm + "q"), c.attention_head_dim, kNormEps),
          QkNorm(w / (norm + "k"), c.attention_head_dim, kNormEps)};
}

// Queries, keys and values of video and caption together, [1, L, heads, d].
struct Qkv {
  Tensor q, k, v;
  Qkv(const Tensor& like, int64_t heads)
      : q(at::empty_like(like).unflatten(2, {heads, -1})), k(at::empty_like(q)), v(at::empty_like(q)) {}

  // Fills the tokens begin..begin+n-1 with projections of x [1, n, C].
  void project(const Projections& p, const Tensor& x, int64_t begin, const Rope* rope) const {
    const auto into = [&](const Linear& linear, const Tensor& to) {
      const auto part = to.narrow(1, begin, x.size(1));  // [1, n, heads, d]
      linear.into(part.flatten(2)[0], x[0]);
      return part;
    };
    p.norm_q(into(p.q, q), rope);
    p.norm_k(into(p.k, k), rope);
    into(p.v, v);
  }

  // What attention makes of them; the video comes first.
  struct Output {
    Tensor tokens;  // [1, L, C]
    Gain gain;      // of the video tokens
  };
  Output attend(int64_t layer, Step& step) const {
    auto [attended, gain] =
        eav::attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), VideoLayer{layer, step, 0});
    return {merge_heads(attended), std::move(gain)};
  }
};

}  // namespace

// ---- the caption ----------------------------------------------------------------------------------------------------

RefinerBlock::RefinerBlock(const Weights& w, const TransformerConfig& c)
    : heads(c.num_attention_heads),
      norm1(w / "norm1", c.channels(), kNormEps),
      norm2(w / "norm2", c.channels(), kNormEps),
      to_q(w / "attn" / "to_q", c.channels(), c.channels()),
      to_k(w / "attn" / "to_k", c.channels(), c.channels()),
      to_v(w / "attn" / "to_v", c.channels(), c.channels()),
      to_out(w / "attn" / "to_out" / 0, c.channels(), c.channels()),
      ff(w / "ff", c.channels(), kRefinerRatio * c.channels(), Activation::silu),
      gates((w / "norm_out" / "linear").quantised(Weights::Rounding::weights), c.channels(), 2 * c.channels()) {}

Tensor RefinerBlock::operator()(const Tensor& x, const Tensor& temb) const {
  const auto split = [&](const Tensor& t) { return split_heads(t, heads); };  // [1, heads, L, d]
  const auto normed = norm1(x);
  const auto attended = attend(split(to_q(normed)), split(to_k(normed)), split(to_v(normed)));
  const auto gate = gates(at::silu(temb)).chunk(2, 1);  // of attention and feed-forward, [1, C]
  const auto y = x + to_out(merge_heads(attended)) * gate[0];
  return y + ff(norm2(y)) * gate[1];
}

TimeTextEmbedding::TimeTextEmbedding(const Weights& w, const TransformerConfig& c, int64_t text_channels, bool guidance)
    : timestep_embedder(w / "timestep_embedder", kTimestepChannels, c.channels()),
      text_embedder(w / "text_embedder", text_channels, c.channels()) {
  if (guidance) guidance_embedder.emplace(w / "guidance_embedder", kTimestepChannels, c.channels());
}

Tensor TimeTextEmbedding::operator()(const Tensor& timestep, const Tensor& pooled, const Tensor& guidance) const {
  const auto type = pooled.scalar_type();
  auto embedding = timestep_embedder(sinusoids(timestep, type));
  if (guidance_embedder && guidance.defined()) embedding = embedding + (*guidance_embedder)(sinusoids(guidance, type));
  return embedding + text_embedder(pooled);
}

TokenRefiner::TokenRefiner(const Weights& w, const TransformerConfig& c)
    : time_text_embed(w / "time_text_embed", c, c.text_embed_dim, /*guidance=*/false),
      proj_in(w / "proj_in", c.text_embed_dim, c.channels()) {
  for (int64_t i = 0; i < c.num_refiner_layers; ++i)
    blocks.emplace_back(w.quantised() / "token_refiner" / "refiner_blocks" / i, c);
}

Tensor TokenRefiner::operator()(const Tensor& text, const Tensor& timestep) const {
  const auto temb = time_text_embed(timestep, text.to(at::kFloat).mean(1).to(text.scalar_type()));  // [1, C]
  auto x = proj_in(text);
  for (const auto& block : blocks) x = block(x, temb);
  return x;
}

// ---- the blocks -----------------------------------------------------------------------------------------------------

Tensor TokenModulation::norm(const LayerNorm& norm, const Tensor& x) const {
  auto y = norm(x, others.scale, others.shift);
  if (first_tokens > 0) y.slice(1, 0, first_tokens).copy_(norm(x.slice(1, 0, first_tokens), first.scale, first.shift));
  return y;
}

void TokenModulation::add(const Tensor& x, const Tensor& y, const Gain& gain, int64_t begin) const {
  const auto own =
      std::clamp<int64_t>(first_tokens - begin, 0, x.size(1));  // of these tokens, those of the first frame
  if (own > 0) x.slice(1, 0, own).addcmul_(y.slice(1, 0, own), gain * first.gate);
  if (own < x.size(1)) x.slice(1, own).addcmul_(y.slice(1, own), gain * others.gate);
}

std::vector<Modulation> AdaLayerNorm::modulations(const Tensor& temb) const {
  const auto parts = linear(at::silu(temb)).squeeze(0).chunk(3 * n);
  std::vector<Modulation> all;
  for (int64_t i = 0; i < n; ++i) all.push_back({parts[3 * i], parts[3 * i + 1], parts[3 * i + 2]});
  return all;
}

std::vector<TokenModulation> AdaLayerNorm::operator()(const Modulators& modulators) const {
  std::vector<TokenModulation> all;
  for (auto& others : modulations(modulators.temb)) all.push_back({.others = std::move(others)});
  if (modulators.first_tokens == 0) return all;
  const auto first = modulations(modulators.first_temb);
  for (size_t i = 0; i < all.size(); ++i) all[i].first = first[i], all[i].first_tokens = modulators.first_tokens;
  return all;
}

DualStreamBlock::DualStreamBlock(const Weights& w, const TransformerConfig& c, int64_t layer)
    : layer(layer),
      heads(c.num_attention_heads),
      norm1(w / "norm1", c, 2),
      norm1_context(w / "norm1_context", c, 2),
      norm(w / "norm2", c.channels(), kNormEps),
      video(projections(w / "attn", c, "to_", "", "norm_")),
      text(projections(w / "attn", c, "add_", "_proj", "norm_added_")),
      to_out(w / "attn" / "to_out" / 0, c.channels(), c.channels()),
      to_add_out(w / "attn" / "to_add_out", c.channels(), c.channels()),
      ff(w / "ff", c.channels(), c.mlp_channels, Activation::gelu_tanh),
      ff_context(w / "ff_context", c.channels(), c.mlp_channels, Activation::gelu_tanh) {}

void DualStreamBlock::operator()(Tokens& x, const Modulators& modulators, const Rope& rope, Step& step) const {
  // Of attention and feed-forward: video, caption.
  const auto m = norm1(modulators), n = norm1_context(Modulators{.temb = modulators.temb});
  {
    const Qkv qkv(x.all, heads);
    qkv.project(video, m[0].norm(norm, x.video()), 0, &rope);
    qkv.project(text, n[0].norm(norm, x.text()), x.video_len, nullptr);
    const auto [tokens, gain] = qkv.attend(layer, step);
    const Tokens attended{tokens, x.video_len};
    m[0].add(x.video(), to_out(attended.video()), gain);
    n[0].add(x.text(), to_add_out(attended.text()));
  }
  m[1].add(x.video(), ff(m[1].norm(norm, x.video())));
  n[1].add(x.text(), ff_context(n[1].norm(norm, x.text())));
}

SingleStreamBlock::SingleStreamBlock(const Weights& w, const TransformerConfig& c, int64_t layer)
    : layer(layer),
      heads(c.num_attention_heads),
      modulation(w / "norm", c, 1),
      norm(w / "norm" / "norm", c.channels(), kNormEps),
      projections(hunyuan_video::projections(w / "attn", c, "to_", "", "norm_")),
      proj_mlp(w / "proj_mlp", c.channels(), c.mlp_channels),
      proj_out(w / "proj_out", c.channels() + c.mlp_channels, c.channels()) {}

void SingleStreamBlock::operator()(Tokens& x, const Modulators& modulators, const Rope& rope, Step& step) const {
  const auto m = modulation(modulators)[0];
  const auto normed = m.norm(norm, x.all);  // [1, L, C]
  Tokens attended{{}, x.video_len};
  {
    const Qkv qkv(normed, heads);
    qkv.project(projections, normed, 0, &rope);
    auto [tokens, gain] = qkv.attend(layer, step);
    attended.all = std::move(tokens);
    gain.scale_(attended.video());
  }
  // Attention and MLP share their output projection, some rows at a time.
  const auto channels = normed.size(2), rows = std::min(normed.size(1), FeedForward::kRows);
  const auto joined = at::empty({rows, proj_out.in_features()}, normed.options());
  for (int64_t begin = 0; begin < normed.size(1); begin += rows) {
    const auto n = std::min(rows, normed.size(1) - begin);
    const auto some = [&](const Tensor& t) { return t[0].narrow(0, begin, n); };  // [n, C]
    joined.narrow(0, 0, n).slice(1, 0, channels).copy_(some(attended.all));
    proj_mlp.gelu_tanh_into(joined.narrow(0, 0, n).slice(1, channels), some(normed));
    m.add(x.all.narrow(1, begin, n), proj_out(joined.narrow(0, 0, n)).unsqueeze(0), /*gain=*/{}, begin);
    if (x.all.is_meta()) break;  // of a plan: other rows take as much memory
  }
}

// ---- the model ------------------------------------------------------------------------------------------------------

Transformer::Transformer(const Weights& w, const TransformerConfig& c)
    : config_(c),
      x_embedder_(Linear::of_patches(w / "x_embedder" / "proj",
                                     {c.channels(), c.in_channels, c.patch_size_t, c.patch_size, c.patch_size})),
      time_text_embed_(w / "time_text_embed", c, c.pooled_projection_dim, c.guidance_embeds),
      context_embedder_(w / "context_embedder", c),
      dual_(w / "transformer_blocks", c.num_layers,
            [c](const Weights& w, int64_t i) { return DualStreamBlock(w, c, i); }),
      single_(w / "single_transformer_blocks", c.num_single_layers,
              [c](const Weights& w, int64_t i) { return SingleStreamBlock(w, c, c.num_layers + i); }),
      norm_out_linear_(w / "norm_out" / "linear", c.channels(), 2 * c.channels()),
      norm_out_(w / "norm_out" / "norm", c.channels(), kNormEps),
      proj_out_(w / "proj_out", c.channels(), c.out_channels * c.patch_size_t * c.patch_size * c.patch_size) {}

Transformer::Inputs Transformer::prepare(int64_t frames, int64_t height, int64_t width, at::Device device) const {
  const auto& c = config_;
  const int64_t T = frames / c.patch_size_t, rows = height / c.patch_size, columns = width / c.patch_size;
  const auto options = at::TensorOptions(at::kFloat).device(host_of(device));
  const auto axis = [&](size_t i, int64_t n) { return RopeAxis{c.rope_axes_dim[i], at::arange(n, options)}; };
  const auto rope = rope_3d(axis(0, T), axis(1, rows), axis(2, columns), c.rope_theta);
  return {{rope.cos.to(device), rope.sin.to(device)}, {T, rows * columns}};
}

Tensor Transformer::operator()(const Tensor& latents, const Tensor& timestep, double guidance, const Caption& caption,
                               const Inputs& inputs, Step& step) const {
  // The scale is rounded to the model's type before it is multiplied, as the reference does it.
  const auto scale = at::full({1}, guidance, latents.options()) * kGuidanceScale;
  const auto temb = time_text_embed_(timestep, caption.pooled, scale);  // [1, C]
  Modulators modulators{.temb = temb};
  if (config_.image_condition == ImageCondition::token_replace) {  // without guidance
    modulators.first_temb = time_text_embed_(at::zeros_like(timestep), caption.pooled);
    modulators.first_tokens = inputs.grid.positions;
  }
  const auto video =
      x_embedder_(patchify(latents, {config_.patch_size_t, config_.patch_size, config_.patch_size}));  // [1, T*S, C]
  Tokens x{at::cat({video, context_embedder_(caption.text, timestep)}, 1), video.size(1)};

  const auto run = [&](const auto& block) {
    step.progress.check();
    block(x, modulators, inputs.rope, step);
  };
  run_blocks(
      x.video(), step, [&] { dual_.one(0, run); },
      [&] {
        dual_.each(run, 1);
        single_.each(run);
      });

  const auto m = norm_out_linear_(at::silu(temb)).squeeze(0).chunk(2);  // scale, shift
  return unpatchify(proj_out_(norm_out_(x.video(), m[0], m[1])), latents.sizes());
}

Tensor Transformer::unpatchify(const Tensor& tokens, at::IntArrayRef shape) const {
  const auto p = config_.patch_size, p_t = config_.patch_size_t;
  const auto channels = config_.out_channels;
  return tokens.reshape({1, shape[2] / p_t, shape[3] / p, shape[4] / p, channels, p_t, p, p})
      .permute({0, 4, 1, 5, 2, 6, 3, 7})  // [1, out, T, p_t, h/p, p, w/p, p]
      .reshape({1, channels, shape[2], shape[3], shape[4]});
}

}  // namespace eav::hunyuan_video
