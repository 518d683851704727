#include "weights/lora.h"

#include <c10/util/accumulate.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <ranges>
#include <string_view>
#include <utility>

#include "eav/error.h"

namespace eav {
namespace {

constexpr std::string_view kWeight = ".weight", kBias = ".bias";

std::string without_weight(const std::string& key) {
  return key.ends_with(kWeight) ? key.substr(0, key.size() - kWeight.size()) : key;
}

// Keys of the other writer that hold a tensor, or rows of it, and which.
std::vector<std::pair<std::string, NamedRows>> originals_of(const std::string& key, const KeyTable& table,
                                                            int64_t channels) {
  std::vector<std::pair<std::string, NamedRows>> found;
  for (const auto& group : table) {
    const auto split = split_beginning(group.ours, group.original, key);
    if (!split) continue;
    const auto& [beginning, rest] = *split;
    for (const auto& line : group.keys) {
      if (!rest.starts_with(line.ours)) continue;
      const auto original = fmt::format("{}{}{}", beginning, line.original, rest.substr(line.ours.size()));
      const bool known = std::ranges::find(found, original, [](const auto& pair) { return pair.first; }) != found.end();
      if (original == key || known) continue;
      // Lines before this one may give it another meaning.
      for (auto& rows : find_names(table, original, channels))
        if (rows.key == key) found.emplace_back(original, std::move(rows));
    }
  }
  return found;
}

// Where a LoRA's changes of a tensor go.
struct Place {
  std::string key;
  const std::vector<int64_t>& shape;
  int64_t begin, rows, at;

  // The columns of a matrix, or what a convolution has of an input channel.
  int64_t columns() const { return c10::multiply_integers(shape.begin() + 1, shape.end()); }
  int64_t kernel() const { return shape.size() > 3 ? c10::multiply_integers(shape.begin() + 2, shape.end()) : 0; }
};

class Fitter {
 public:
  Fitter(const LoraFile& lora, double strength, const Checkpoint& part, const LayerNames& names, Patches& patches)
      : lora_(lora), strength_(strength), part_(part), names_(names), patches_(patches) {
    fit_.left_out = lora.left_over();
  }

  LoraFit run() {
    for (const auto& layer : lora_.layers()) add(layer);
    return std::move(fit_);
  }

 private:
  void add(const LoraLayer& layer) {
    const auto* named = names_.find(layer.name);
    if (named == nullptr) {
      leave_out(layer.keys, "of no layer of this model");
      leave_out(layer.bias_keys, "of no layer of this model");
      return;
    }
    const bool weight = layer.weight && add(layer, *layer.weight, *named, kWeight, layer.keys);
    const bool bias = layer.bias && add(layer, *layer.bias, *named, kBias, layer.bias_keys);
    fit_.tensors += (weight ? layer.keys.size() : 0) + (bias ? layer.bias_keys.size() : 0);
    if (weight || bias) ++fit_.layers;
  }

  // Of a layer's weight or bias; false where it is left out.
  bool add(const LoraLayer& layer, const Delta& delta, const std::vector<NamedRows>& named, std::string_view ending,
           const std::vector<std::string>& keys) {
    std::vector<Place> places;
    for (const auto& rows : named) {
      // A table of numbers is no layer: it has no ".weight".
      auto found = part_.index().find(rows.key + std::string(ending));
      if (found == part_.index().end() && ending == kWeight) found = part_.index().find(rows.key);
      if (found == part_.index().end())
        return leave_out(keys, fmt::format("a {} that this model does not have", ending.substr(1)));
      const auto end = rows.end.value_or(delta.rows());
      places.push_back({found->first, found->second.second.shape, rows.begin, end - rows.begin, rows.at});
    }
    if (!fit_rows(delta, places)) throw unlike(layer, delta, places);
    const auto& first = places[0];
    if (delta.columns() != first.columns()) {
      // Models that see a picture beside the latents take its channels behind those of the latents.
      const auto kernel = first.kernel();
      if (kernel == 0 || delta.columns() % kernel != 0) throw unlike(layer, delta, places);
      if (delta.columns() > first.columns()) return leave_out(keys, "for a model that takes more channels");
    }
    const auto& magnitude = layer.magnitude;
    if (magnitude.defined() && (delta.columns() != first.columns() || (places.size() > 1 && magnitude.size(1) > 1)))
      return leave_out(keys, "a DoRA of columns that several layers share, which is not supported");
    for (const auto& place : places) {
      const bool of_rows = magnitude.defined() && ending == kWeight && magnitude.size(1) == 1;
      patches_.add(place.key, {.delta = delta,
                               .strength = strength_,
                               .begin = place.begin,
                               .rows = place.rows,
                               .at = place.at,
                               .magnitude = of_rows           ? magnitude.narrow(0, place.begin, place.rows)
                                            : ending == kBias ? Tensor()
                                                              : magnitude});
    }
    return true;
  }

  // Whether the delta's rows are those of the tensors together.
  static bool fit_rows(const Delta& delta, const std::vector<Place>& places) {
    std::map<std::string, int64_t> ends;
    int64_t rows = 0;
    for (const auto& place : places) {
      if (place.shape.empty() || place.rows <= 0 || place.begin + place.rows > delta.rows()) return false;
      if (place.columns() != places[0].columns()) return false;
      ends[place.key] = std::max(ends[place.key], place.at + place.rows);
      rows += place.rows;
    }
    return rows == delta.rows() &&
           std::ranges::all_of(places, [&](const Place& place) { return ends[place.key] == place.shape[0]; });
  }

  Error unlike(const LoraLayer& layer, const Delta& delta, const std::vector<Place>& places) const {
    const auto& place = places[0];
    const auto made_for = lora_.info().made_for;
    return Error("lora", fmt::format("{}: does not fit this model: it changes \"{}\" by {}x{}, where \"{}\" has shape "
                                     "[{}]{}",
                                     lora_.path().string(), layer.name, delta.rows(), delta.columns(), place.key,
                                     fmt::join(place.shape, ", "),
                                     made_for.empty() ? "" : fmt::format("; it was made for {}", made_for)));
  }

  bool leave_out(const std::vector<std::string>& keys, const std::string& reason) {
    if (!keys.empty()) {
      auto& all = fit_.left_out[reason];
      all.insert(all.end(), keys.begin(), keys.end());
    }
    return false;
  }

  const LoraFile& lora_;
  double strength_;
  const Checkpoint& part_;
  const LayerNames& names_;
  Patches& patches_;
  LoraFit fit_;
};

}  // namespace

LayerNames::LayerNames(const Checkpoint& part, const KeyTable* original, int64_t channels) {
  const auto with_underscores = [](std::string name) {
    std::ranges::replace(name, '.', '_');
    return name;
  };
  std::map<std::string, std::vector<NamedRows>> others;
  for (const auto& key : part.index() | std::views::keys) {
    if (key.ends_with(kBias)) continue;
    const auto layer = without_weight(key);
    by_name_[layer] = by_name_[with_underscores(layer)] = {NamedRows{.key = layer}};
    if (original == nullptr) continue;
    for (auto& [name, rows] : originals_of(key, *original, channels)) {
      rows.key = layer;
      const auto other = without_weight(name), flat = with_underscores(other);
      // Several spellings of a layer may be the same with underscores.
      for (const auto& spelled : {other, flat})
        if (auto& all = others[spelled]; std::ranges::find(all, rows) == all.end()) all.push_back(rows);
    }
  }
  by_name_.merge(others);  // where names are the same, this project's count
}

const std::vector<NamedRows>* LayerNames::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &found->second;
}

LoraFit fit(const LoraFile& lora, double strength, const Checkpoint& part, const LayerNames& names, Patches& patches) {
  return Fitter(lora, strength, part, names, patches).run();
}

}  // namespace eav
