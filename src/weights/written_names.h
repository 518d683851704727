// The other way of weights/original_names.h: from this project's keys to another writer's.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weights/original_names.h"

namespace eav {

// What the other writer calls this project's `key`, by the last line that names it, and which of the other's rows are
// which of ours: several pieces where they change places; nothing where the table does not name it.
std::vector<NamedRows> find_original(std::span<const KeyGroup> table, std::string_view key, int64_t channels);

// Of a key with a group's `beginning`, and the number of a block behind it where that is not empty: that beginning in
// the other names, `other`, and the rest of the key; nothing where it begins otherwise.
std::optional<std::pair<std::string, std::string_view>> split_beginning(std::string_view beginning,
                                                                        std::string_view other, std::string_view key);

}  // namespace eav
