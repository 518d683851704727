// Pages that show results: one file each, which needs nothing else and loads nothing.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

namespace eav {

enum class Report { compare, attention_maps };

// The page that shows `data`, by the script of the report.
std::string report_page(Report report, const std::string& title, const nlohmann::ordered_json& data);

}  // namespace eav
