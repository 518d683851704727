// The other way of weights/original_names.h: from this project's keys to another writer's.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "weights/original_names.h"

namespace eav {

// What the other writer calls this project's `key`, by the last line that names it, and which of the other's rows are
// which of ours: several pieces where they change places; nothing where the table does not name it.
std::vector<NamedRows> find_original(std::span<const KeyGroup> table, std::string_view key, int64_t channels);

}  // namespace eav
