#include "report/page.h"

#include <map>
#include <string_view>

extern "C" {
extern const char eav_asset_page[], eav_asset_page_end[], eav_asset_style[], eav_asset_style_end[], eav_asset_common[],
    eav_asset_common_end[], eav_asset_compare[], eav_asset_compare_end[], eav_asset_attention_maps[],
    eav_asset_attention_maps_end[], eav_asset_echarts[], eav_asset_echarts_end[];
}

namespace eav {
namespace {

std::string_view between(const char* begin, const char* end) { return {begin, static_cast<size_t>(end - begin)}; }

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '&')
      result += "&amp;";
    else if (c == '<')
      result += "&lt;";
    else
      result += c;
  }
  return result;
}

// JSON that nothing in it can end the element that holds it.
std::string for_script(const nlohmann::ordered_json& data) {
  std::string result;
  for (const char c : data.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace))
    c == '<' ? result += "\\u003c" : result += c;
  return result;
}

}  // namespace

std::string report_page(Report report, const std::string& title, const nlohmann::ordered_json& data) {
  const auto script = report == Report::compare ? between(eav_asset_compare, eav_asset_compare_end)
                                                : between(eav_asset_attention_maps, eav_asset_attention_maps_end);
  const std::map<std::string_view, std::string> parts{
      {"title", escaped(title)},
      {"style", std::string(between(eav_asset_style, eav_asset_style_end))},
      {"library", std::string(between(eav_asset_echarts, eav_asset_echarts_end))},
      {"data", for_script(data)},
      {"common", std::string(between(eav_asset_common, eav_asset_common_end))},
      {"script", std::string(script)},
  };
  const auto shell = between(eav_asset_page, eav_asset_page_end);
  std::string page;
  for (size_t at = 0; at < shell.size();) {
    const auto open = shell.find("{{", at), close = shell.find("}}", open);
    page += shell.substr(at, open - at);
    if (open == shell.npos || close == shell.npos) break;
    page += parts.at(shell.substr(open + 2, close - open - 2));
    at = close + 2;
  }
  return page;
}

std::array<uint8_t, 3> page_colour(const std::string& name) {
  const auto style = between(eav_asset_style, eav_asset_style_end);
  const auto declared = "--" + name + ": #";
  const auto colour = std::stoul(std::string(style.substr(style.find(declared) + declared.size(), 6)), nullptr, 16);
  return {static_cast<uint8_t>(colour >> 16), static_cast<uint8_t>(colour >> 8), static_cast<uint8_t>(colour)};
}

}  // namespace eav
