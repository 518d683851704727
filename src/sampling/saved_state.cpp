#include "eav/saved_state.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "eav/error.h"

namespace eav {

void SavedState::add(const std::string& prefix, const SavedState& part) {
  for (const auto& [name, tensor] : part.tensors) tensors[prefix + name] = tensor;
}

SavedState SavedState::part(const std::string& prefix) const {
  SavedState part;
  for (auto at = tensors.lower_bound(prefix); at != tensors.end() && at->first.starts_with(prefix); ++at)
    part.tensors[at->first.substr(prefix.size())] = at->second;
  return part;
}

const at::Tensor& SavedState::tensor(const std::string& name) const {
  const auto found = tensors.find(name);
  if (found == tensors.end()) throw Error(fmt::format("the state to go on from has no \"{}\"", name));
  return found->second;
}

at::Tensor SavedState::like(const std::string& name, const at::Tensor& other) const {
  const auto& saved = tensor(name);
  if (saved.sizes() != other.sizes() || saved.scalar_type() != other.scalar_type())
    throw Error(fmt::format("the state to go on from has a \"{}\" of shape [{}], expected [{}] in {}", name,
                            fmt::join(saved.sizes(), ", "), fmt::join(other.sizes(), ", "),
                            c10::toString(other.scalar_type())));
  return saved.clone().to(other.device());  // never the file's own pages
}

int64_t SavedState::whole(const std::string& name, int64_t least, int64_t most) const {
  const auto value = like(name, at::empty({}, at::kLong)).item<int64_t>();
  if (value < least || value > most)
    throw Error(fmt::format("the state to go on from has {} as \"{}\", expected {} to {}", value, name, least, most));
  return value;
}

bool SavedState::denoised() const { return !part("denoised.").tensors.empty(); }

}  // namespace eav
