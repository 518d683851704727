#include "models/open_sora/named_sizes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "eav/error.h"

namespace eav::open_sora {
namespace {

constexpr std::array kResolutions{"144p", "240p", "360p", "480p", "720p", "1080p", "2k", "4k"};

struct Row {
  const char* aspect;
  std::array<PictureSize, kResolutions.size()> sizes;  // of each resolution
};

// They do not follow from a rule: some are rounded to even numbers, others not.
constexpr std::array<Row, 17> kSizes{{
    {"3:8", {{{117, 312}, {196, 522}, {294, 784}, {392, 1046}, {588, 1568}, {882, 2352}, {1176, 3136}, {1764, 4704}}}},
    {"9:21", {{{125, 291}, {210, 490}, {314, 732}, {420, 980}, {628, 1466}, {942, 2198}, {1256, 2930}, {1886, 4400}}}},
    {"12:25", {{{133, 277}, {222, 462}, {332, 692}, {444, 925}, {666, 1388}, {998, 2080}, {1330, 2770}, {1996, 4158}}}},
    {"1:2", {{{135, 270}, {226, 452}, {340, 680}, {452, 904}, {678, 1356}, {1018, 2036}, {1358, 2716}, {2036, 4072}}}},
    {"9:17", {{{139, 262}, {232, 438}, {350, 662}, {466, 880}, {698, 1318}, {1048, 1980}, {1398, 2640}, {2096, 3960}}}},
    {"27:50",
     {{{141, 260}, {236, 436}, {352, 652}, {470, 870}, {706, 1306}, {1058, 1958}, {1412, 2612}, {2118, 3918}}}},
    {"9:16", {{{144, 256}, {240, 426}, {360, 640}, {480, 854}, {720, 1280}, {1080, 1920}, {1440, 2560}, {2160, 3840}}}},
    {"5:8", {{{151, 241}, {252, 404}, {380, 608}, {506, 810}, {758, 1212}, {1138, 1820}, {1518, 2428}, {2276, 3642}}}},
    {"2:3", {{{156, 234}, {262, 393}, {392, 588}, {522, 784}, {784, 1176}, {1176, 1764}, {1568, 2352}, {2352, 3528}}}},
    {"3:4", {{{166, 221}, {276, 368}, {416, 554}, {554, 738}, {832, 1110}, {1248, 1664}, {1662, 2216}, {2494, 3326}}}},
    {"1:1", {{{192, 192}, {320, 320}, {480, 480}, {640, 640}, {960, 960}, {1440, 1440}, {1920, 1920}, {2880, 2880}}}},
    {"4:3", {{{221, 165}, {370, 278}, {554, 416}, {740, 555}, {1108, 832}, {1662, 1246}, {2218, 1664}, {3326, 2494}}}},
    {"3:2", {{{235, 156}, {392, 262}, {588, 392}, {784, 522}, {1176, 784}, {1764, 1176}, {2352, 1568}, {3528, 2352}}}},
    {"16:9", {{{256, 144}, {426, 240}, {640, 360}, {854, 480}, {1280, 720}, {1920, 1080}, {2560, 1440}, {3840, 2160}}}},
    {"17:9", {{{263, 139}, {440, 232}, {660, 350}, {880, 466}, {1320, 698}, {1980, 1048}, {2638, 1396}, {3958, 2096}}}},
    {"2:1", {{{271, 135}, {452, 226}, {678, 340}, {906, 454}, {1358, 680}, {2036, 1018}, {2716, 1358}, {4072, 2036}}}},
    {"50:27", {{{277, 132}, {462, 222}, {692, 332}, {924, 444}, {1386, 666}, {2078, 998}, {2772, 1330}, {4156, 1994}}}},
}};

}  // namespace

PictureSize named_size(const std::string& resolution, const std::string& aspect) {
  const auto column = std::ranges::find(kResolutions, resolution);
  if (column == kResolutions.end())
    throw Error(fmt::format("there is no resolution '{}', expected {}", resolution, fmt::join(kResolutions, ", ")));
  const auto row = std::ranges::find(kSizes, aspect, &Row::aspect);
  if (row == kSizes.end()) {
    std::vector<std::string> aspects;
    for (const auto& known : kSizes) aspects.emplace_back(known.aspect);
    throw Error(fmt::format("there is no aspect '{}', expected height:width: {}", aspect, fmt::join(aspects, ", ")));
  }
  return row->sizes[static_cast<size_t>(column - kResolutions.begin())];
}

int64_t named_length(const std::string& length) {
  static const std::map<std::string, int64_t> frames{{"2s", 51}, {"4s", 102}, {"8s", 204}, {"16s", 408}, {"32s", 816},
                                                     {"1x", 51}, {"2x", 102}, {"4x", 204}, {"8x", 408},  {"16x", 816}};
  const auto found = frames.find(length);
  if (found == frames.end())
    throw Error(fmt::format("there is no length '{}', expected 2s, 4s, 8s, 16s or 32s, or 1x to 16x", length));
  return found->second;
}

}  // namespace eav::open_sora
