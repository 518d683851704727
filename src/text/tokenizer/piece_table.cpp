#include "text/tokenizer/piece_table.h"

namespace eav::text {

PieceTable::PieceTable(Vocabulary vocabulary, const std::function<bool(int64_t id)>& listed)
    : vocabulary_(std::move(vocabulary)) {
  for (int64_t id = 0; id < size(); ++id)
    if (!listed || listed(id)) sorted_.push_back(id);
  // Of equal tokens the last one counts.
  std::ranges::sort(sorted_, [this](int64_t a, int64_t b) {
    const auto order = text(a).compare(text(b));
    return order != 0 ? order < 0 : a > b;
  });
  const auto repeated = std::ranges::unique(sorted_, {}, [this](int64_t id) { return text(id); });
  sorted_.erase(repeated.begin(), repeated.end());
}

std::optional<int64_t> PieceTable::id(std::string_view token) const {
  const auto found = std::ranges::lower_bound(sorted_, token, {}, [this](int64_t id) { return text(id); });
  return found == sorted_.end() || text(*found) != token ? std::nullopt : std::optional(*found);
}

std::optional<std::string> PieceTable::token(int64_t id) const {
  return id < 0 || id >= size() ? std::nullopt : std::optional(std::string(text(id)));
}

}  // namespace eav::text
