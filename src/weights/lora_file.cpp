#include "weights/lora_file.h"

#include <c10/util/accumulate.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <ranges>
#include <set>
#include <utility>

#include "base/json.h"
#include "eav/error.h"
#include "weights/config.h"
#include "weights/weight_files.h"

namespace eav {
namespace {

using Json = nlohmann::json;
using Entry = SafetensorsFile::Entry;

struct Ending {
  std::string_view text, part;
};

// What keys end in behind the name of a layer, and what stands there.
constexpr std::array kEndings{
    Ending{".lora_A.weight", "down"},
    Ending{".lora_A.default.weight", "down"},
    Ending{".lora_down.weight", "down"},
    Ending{".lora.down.weight", "down"},
    Ending{".lora_B.weight", "up"},
    Ending{".lora_B.default.weight", "up"},
    Ending{".lora_up.weight", "up"},
    Ending{".lora.up.weight", "up"},
    Ending{".lora_B.bias", "up_bias"},
    Ending{".lora_B.default.bias", "up_bias"},
    Ending{".alpha", "alpha"},
    Ending{".diff", "diff"},
    Ending{".w_norm", "diff"},
    Ending{".diff_b", "diff_b"},
    Ending{".b_norm", "diff_b"},
    Ending{".dora_scale", "magnitude"},
    Ending{".lora_magnitude_vector", "magnitude"},
    Ending{".lora_magnitude_vector.weight", "magnitude"},
    Ending{".lora_magnitude_vector.default.weight", "magnitude"},
    Ending{".hada_w1_a", "hada_w1_a"},
    Ending{".hada_w1_b", "hada_w1_b"},
    Ending{".hada_w2_a", "hada_w2_a"},
    Ending{".hada_w2_b", "hada_w2_b"},
    Ending{".lokr_w1", "lokr_w1"},
    Ending{".lokr_w1_a", "lokr_w1_a"},
    Ending{".lokr_w1_b", "lokr_w1_b"},
    Ending{".lokr_w2", "lokr_w2"},
    Ending{".lokr_w2_a", "lokr_w2_a"},
    Ending{".lokr_w2_b", "lokr_w2_b"},
    Ending{".lora_mid.weight", "mid"},
    Ending{".hada_t1", "hada_t1"},
    Ending{".hada_t2", "hada_t2"},
    Ending{".lokr_t2", "lokr_t2"},
};

struct Writer {
  std::string_view prefix;  // of keys
  const char* name;
};
// The first that fits counts.
constexpr std::array kWriters{
    Writer{"lora_unet__", "VideoX-Fun"},
    Writer{"lora_unet_", "kohya or musubi-tuner"},
    Writer{"lora_transformer_", "OneTrainer"},
    Writer{"lycoris_", "LyCORIS"},
    Writer{"model.diffusion_model.", "ComfyUI"},
    Writer{"diffusion_model.", "ComfyUI"},
    Writer{"base_model.model.transformer.", "PEFT"},
    Writer{"base_model.model.", "PEFT"},
    Writer{"transformer.", "diffusers or PEFT"},
    Writer{"", "unknown"},
};

constexpr std::array kTextEncoders{"lora_te", "text_encoder", "text_encoders.", "conditioner."};

const Ending* ending_of(std::string_view key) {
  const auto* found = std::ranges::find_if(kEndings, [&](const Ending& e) { return key.ends_with(e.text); });
  return found == kEndings.end() ? nullptr : found;
}

// The parts of a layer, by what they are.
using Parts = std::map<std::string_view, std::pair<std::string, Entry>>;

// What PEFT's configuration says of alphas; diffusers writes it into the metadata, PEFT into a file beside.
class PeftConfig {
 public:
  PeftConfig(const SafetensorsFile& file, const std::filesystem::path& path) {
    if (const auto text = file.metadata().find("lora_adapter_metadata"); text != file.metadata().end())
      json_ = parse_json(text->second);
    else if (const auto beside = path.parent_path() / "adapter_config.json";
             path.filename() == "adapter_model.safetensors" && std::filesystem::exists(beside))
      json_ = JsonFile(beside).json();
    if (!json_.is_object()) json_ = Json::object();
  }

  // alpha / rank of a layer, as it says; nothing where it says nothing.
  std::optional<double> scale(const std::string& layer, int64_t rank) const {
    auto alpha = number("lora_alpha");
    if (const auto* patterns = field("alpha_pattern"); patterns != nullptr && patterns->is_object())
      for (const auto& [pattern, value] : patterns->items())
        if (value.is_number() && fits(pattern, layer)) alpha = value.get<double>();
    if (!alpha) return std::nullopt;
    const auto* root = field("use_rslora");
    const auto divisor = static_cast<double>(rank);
    return *alpha / (root != nullptr && *root == true ? std::sqrt(divisor) : divisor);
  }

 private:
  // diffusers puts the part's name before those of the fields.
  const Json* field(const std::string& name) const {
    for (const auto* prefix : {"transformer.", ""})
      if (const auto found = json_.find(prefix + name); found != json_.end()) return &*found;
    return nullptr;
  }
  std::optional<double> number(const std::string& name) const {
    const auto* value = field(name);
    return value != nullptr && value->is_number() ? std::optional(value->get<double>()) : std::nullopt;
  }
  // A pattern is the end of a name, or with '^' before it all of it.
  static bool fits(std::string_view pattern, const std::string& layer) {
    if (pattern.starts_with('^')) return layer == pattern.substr(1);
    return layer == pattern || layer.ends_with(fmt::format(".{}", pattern));
  }

  Json json_;
};

// Reads one layer of a file.
class LayerReader {
 public:
  LayerReader(const SafetensorsFile& file, const PeftConfig& config, std::string name, const Parts& parts)
      : file_(file), config_(config), parts_(parts), layer_{.name = std::move(name)} {}

  LoraLayer read() {
    if (has("down") + has("diff") + has("hada_w1_a") + (has("lokr_w1") || has("lokr_w1_a")) > 1)
      throw error(parts_.begin()->second.first, "belongs to a layer that is changed in several forms");
    if (has("down") || has("up")) {
      layer_.weight = Delta{.first = product("up", "down")};
      if (has("mid")) layer_.weight->first = with_core("mid", layer_.weight->first);
      layer_.weight->scale = scale_of(layer_.weight->first.right.size(0));
    } else if (has("hada_w1_a")) {
      layer_.weight = Delta{Delta::Form::hadamard, product("hada_w1_a", "hada_w1_b", "hada_t1"),
                            product("hada_w2_a", "hada_w2_b", "hada_t2")};
      layer_.weight->scale = scale_of(layer_.weight->first.right.size(0));
      check_like(layer_.weight->first, layer_.weight->second);
    } else if (has("lokr_w1") || has("lokr_w1_a")) {
      layer_.weight = Delta{Delta::Form::kronecker, whole_or_product("lokr_w1"), whole_or_product("lokr_w2")};
      // Two whole matrices have no rank, and no alpha then counts.
      for (const auto* factors : {&layer_.weight->first, &layer_.weight->second})
        if (factors->right.defined()) layer_.weight->scale = scale_of(factors->right.size(0));
      check_product();
    } else if (has("diff")) {
      layer_.weight = Delta{.first = {whole("diff")}};
    }
    if (has("diff_b")) layer_.bias = Delta{.first = {column("diff_b")}};
    if (has("up_bias"))
      layer_.bias = Delta{.first = {column("up_bias")}, .scale = layer_.weight ? layer_.weight->scale : 1};
    if (has("magnitude")) layer_.magnitude = magnitude();
    if (!layer_.weight && !layer_.bias)
      throw error(parts_.begin()->second.first, "is there without what it belongs to");
    for (const auto& [part, found] : parts_)
      (part == "diff_b" || part == "up_bias" ? layer_.bias_keys : layer_.keys).push_back(found.first);
    return std::move(layer_);
  }

 private:
  bool has(std::string_view part) const { return parts_.contains(part); }
  Error error(const std::string& key, const std::string& what) const {
    return Error(fmt::format("{}: is no sound LoRA: \"{}\" {}", file_.path().string(), key, what));
  }
  const std::pair<std::string, Entry>& at(std::string_view part) const {
    const auto found = parts_.find(part);
    if (found == parts_.end())
      throw error(parts_.begin()->second.first, fmt::format("is there, but of the same layer no \"{}\"", ending(part)));
    return found->second;
  }
  // As a message names a part.
  static std::string_view ending(std::string_view part) {
    return std::ranges::find(kEndings, part, &Ending::part)->text.substr(1);
  }

  Tensor floats(std::string_view part) const {
    const auto& [key, entry] = at(part);
    if (!at::isFloatingType(entry.dtype)) throw error(key, "holds no floating point numbers");
    if (entry.shape.empty() || c10::multiply_integers(entry.shape) == 0)
      throw error(key, fmt::format("has shape [{}], expected a matrix", fmt::join(entry.shape, ", ")));
    return file_.view(entry, SafetensorsFile::Use::copying);
  }
  // As a matrix: axes behind the second are those of a convolution's kernel.
  Tensor matrix(std::string_view part) const {
    const auto tensor = floats(part);
    if (tensor.dim() < 2) throw error(at(part).first, "has one axis, expected a matrix");
    return tensor.flatten(1);
  }
  // Of any shape: one axis is a column.
  Tensor whole(std::string_view part) const {
    const auto tensor = floats(part);
    return tensor.dim() == 1 ? tensor.unsqueeze(1) : tensor.flatten(1);
  }
  Tensor column(std::string_view part) const { return floats(part).reshape({-1, 1}); }

  // With a `core` of a Tucker decomposition, where the file has it, LyCORIS writes the left matrix as [rank, rows].
  Factors product(std::string_view left, std::string_view right, std::string_view core = {}) const {
    if (!core.empty() && has(core)) return with_core(core, {matrix(left).t(), matrix(right)});
    const Factors factors{matrix(left), matrix(right)};
    if (factors.left.size(1) != factors.right.size(0))
      throw error(at(left).first, fmt::format("has rank {}, but \"{}\" rank {}", factors.left.size(1), at(right).first,
                                              factors.right.size(0)));
    return factors;
  }
  // A kernel [rows, in, ...] as a core [rank, rank, ...] between two matrices, [rows, rank] and [rank, in]: the core
  // and the second one make a matrix of all columns.
  Factors with_core(std::string_view part, const Factors& factors) const {
    const auto core = matrix(part).to(at::kFloat);  // [rank, rank * positions]
    const auto rank = factors.left.size(1), inner = factors.right.size(0);
    if (core.size(0) != rank || at(part).second.shape[1] != inner)
      throw error(at(part).first, fmt::format("has shape [{}], expected [{}, {}, ...]",
                                              fmt::join(at(part).second.shape, ", "), rank, inner));
    constexpr int64_t kMostElements = int64_t{1} << 27;
    if (factors.right.size(1) > kMostElements / core.size(0) / (core.size(1) / inner))
      throw error(at(part).first, "belongs to a matrix of impossible size");
    const auto right = factors.right.to(at::kFloat).t();                                // [in, rank]
    return {factors.left, at::matmul(right, core.view({rank, inner, -1})).flatten(1)};  // [rank, in * positions]
  }
  Factors whole_or_product(const std::string& part) const {
    if (has(part)) return {matrix(part)};
    return part == "lokr_w2" ? product("lokr_w2_a", "lokr_w2_b", "lokr_t2") : product("lokr_w1_a", "lokr_w1_b");
  }
  void check_like(const Factors& one, const Factors& other) const {
    if (one.rows() != other.rows() || one.columns() != other.columns())
      throw error(parts_.begin()->second.first,
                  fmt::format("belongs to factors of {}x{} and {}x{}, which cannot be multiplied", one.rows(),
                              one.columns(), other.rows(), other.columns()));
  }
  void check_product() const {
    constexpr int64_t kMost = int64_t{1} << 31;
    const auto& [form, one, other, scale] = *layer_.weight;
    if (one.rows() > kMost || other.rows() > kMost || one.columns() > kMost || other.columns() > kMost)
      throw error(parts_.begin()->second.first, "belongs to a matrix of impossible size");
  }

  double scale_of(int64_t rank) const {
    const auto found = parts_.find("alpha");
    if (found == parts_.end()) return config_.scale(layer_.name, rank).value_or(1);
    const auto& [key, entry] = found->second;
    if (c10::multiply_integers(entry.shape) != 1)
      throw error(key, fmt::format("has shape [{}], expected a single number", fmt::join(entry.shape, ", ")));
    const auto alpha = file_.view(entry, SafetensorsFile::Use::copying).to(at::kDouble).item<double>();
    if (!std::isfinite(alpha)) throw error(key, "is no finite number");
    return alpha / static_cast<double>(rank);
  }

  Tensor magnitude() const {
    const auto tensor = floats("magnitude");
    const auto& key = at("magnitude").first;
    if (!layer_.weight) throw error(key, "is there without what it belongs to");
    const auto rows = layer_.weight->rows(), columns = layer_.weight->columns(), n = tensor.numel();
    if (n == rows && tensor.size(0) == rows) return tensor.reshape({rows, 1});
    if (n == columns) return tensor.reshape({1, columns});
    throw error(key, fmt::format("has shape [{}], expected {} rows or {} columns", fmt::join(tensor.sizes(), ", "),
                                 rows, columns));
  }

  const SafetensorsFile& file_;
  const PeftConfig& config_;
  const Parts& parts_;
  LoraLayer layer_;
};

// What a model's layers are called in some writer's spelling, with '_' for '.'.
struct Sign {
  std::string_view in_name;
  const char* model;
};
// Of several, the first that any layer has; '^' stands for the beginning of a name.
constexpr std::array kSigns{
    Sign{"down_blocks_", "Stable Diffusion"},
    Sign{"input_blocks_", "Stable Diffusion"},
    Sign{"joint_blocks_", "Stable Diffusion 3"},
    Sign{"individual_token_refiner", "HunyuanVideo"},
    Sign{"token_refiner_refiner_blocks", "HunyuanVideo"},
    Sign{"double_blocks_", "HunyuanVideo or FLUX"},
    Sign{"single_blocks_", "HunyuanVideo or FLUX"},
    Sign{"single_transformer_blocks_", "HunyuanVideo or FLUX"},
    Sign{"_img_m", "Qwen-Image"},
    Sign{"cross_attn_k_img", "Wan, image to video"},
    Sign{"attn2_add_k_proj", "Wan, image to video"},
    Sign{"^blocks_", "Wan"},
    Sign{"_attn2_", "LTX-Video"},
    Sign{"adaln_single", "LTX-Video"},
    Sign{"^transformer_blocks_", "CogVideoX"},
};

std::string underscored(std::string name) {
  std::ranges::replace(name, '.', '_');
  return name;
}

std::string made_for(const std::vector<LoraLayer>& layers) {
  std::string model;
  for (const auto& sign : kSigns)
    if (std::ranges::any_of(layers, [&](const LoraLayer& layer) {
          return ("^" + underscored(layer.name)).find(sign.in_name) != std::string::npos;
        })) {
      model = sign.model;
      break;
    }
  // Queries are made of a token's channels.
  const auto query = std::ranges::find_if(layers, [](const LoraLayer& layer) {
    return layer.weight && (layer.name.ends_with("to_q") || layer.name.ends_with("attn_q") ||
                            layer.name.ends_with("attn.q") || layer.name.ends_with("qkv"));
  });
  const auto channels = query == layers.end() ? "" : fmt::format("{} channels", query->weight->columns());
  return fmt::format("{}{}{}", model, model.empty() || channels.empty() ? "" : ", ", channels);
}

}  // namespace

bool LoraFile::is_lora(const SafetensorsFile& file) {
  return std::ranges::any_of(file.entries() | std::views::keys, [](const std::string& key) {
    const auto* ending = ending_of(key);
    return ending != nullptr && ending->part != "alpha";
  });
}

LoraFile::LoraFile(const std::filesystem::path& path) : path_(path) {
  if (std::filesystem::is_directory(path))
    throw Error("lora", fmt::format("{}: is a folder: name the .safetensors file of the LoRA in it", path.string()));
  if (is_pickled(path))
    throw Error("lora", fmt::format("{}: holds pickled objects, which are not read: take the LoRA as .safetensors",
                                    path.string()));
  const SafetensorsFile file(path);
  if (!is_lora(file))
    throw Error("lora", fmt::format("{}: is no LoRA: none of its {} tensors is a change of a layer, such as "
                                    "\"….lora_A.weight\" or \"….lora_down.weight\"",
                                    path.string(), file.entries().size()));
  const PeftConfig config(file, path);
  std::map<std::string, Parts> layers;
  for (const auto& [key, entry] : file.entries()) {
    const auto* ending = ending_of(key);
    if (std::ranges::any_of(kTextEncoders, [&](const char* prefix) { return key.starts_with(prefix); }))
      left_over_["of a text encoder, which stays as it is"].push_back(key);
    else if (ending == nullptr)
      left_over_["no change of a known form"].push_back(key);
    else if (auto& parts = layers[key.substr(0, key.size() - ending->text.size())];
             !parts.try_emplace(ending->part, key, entry).second)
      throw Error(fmt::format("{}: is no sound LoRA: \"{}\" and \"{}\" are the same part of a layer", path.string(),
                              parts.at(ending->part).first, key));
  }
  for (const auto& [name, parts] : layers) {
    const auto* writer =
        std::ranges::find_if(kWriters, [&](const Writer& w) { return std::string_view(name).starts_with(w.prefix); });
    if (writer_.empty()) writer_ = writer->name;
    layers_.push_back(LayerReader(file, config, name.substr(writer->prefix.size()), parts).read());
  }
}

LoraInfo LoraFile::info() const {
  LoraInfo info{.form = {}, .writer = writer_, .made_for = made_for(layers_), .layers = std::ssize(layers_)};
  std::set<std::string> forms;
  const auto count = [&](const Factors& factors) {
    for (const auto& tensor : {factors.left, factors.right})
      if (tensor.defined()) info.parameters += tensor.numel();
    if (!factors.right.defined()) return;
    const auto rank = factors.right.size(0);
    info.rank_least = info.rank_least == 0 ? rank : std::min(info.rank_least, rank);
    info.rank_most = std::max(info.rank_most, rank);
  };
  for (const auto& layer : layers_) {
    for (const auto* delta : {&layer.weight, &layer.bias}) {
      if (!*delta) continue;
      count((*delta)->first);
      if ((*delta)->form != Delta::Form::one) count((*delta)->second);
    }
    if (!layer.weight || (layer.weight->form == Delta::Form::one && !layer.weight->first.right.defined()))
      forms.insert("differences");
    else
      forms.insert(layer.magnitude.defined()                     ? "DoRA"
                   : layer.weight->form == Delta::Form::one      ? "LoRA"
                   : layer.weight->form == Delta::Form::hadamard ? "LoHa"
                                                                 : "LoKr");
  }
  info.form = fmt::format("{}", fmt::join(forms, ", "));
  return info;
}

}  // namespace eav
