#include "video/palette.h"

#include <algorithm>
#include <cmath>

namespace eav {
namespace {

using Colour = std::array<float, 3>;

constexpr int bits = 6;  // of each channel that tell colours apart: 64 x 64 x 64 cells
constexpr size_t max_colours = 255;

size_t cell(int r, int g, int b) {
  constexpr int drop = 8 - bits;
  return static_cast<size_t>(((r >> drop) << 2 * bits) | ((g >> drop) << bits) | (b >> drop));
}

// The middle of the cell that a colour falls into.
Colour middle(int r, int g, int b) {
  const auto of = [](int v) {
    return static_cast<float>(v >> (8 - bits) << (8 - bits)) + 0.5F * ((1 << (8 - bits)) - 1);
  };
  return {of(r), of(g), of(b)};
}

float distance(const Colour& a, const Colour& b) {
  return (a[0] - b[0]) * (a[0] - b[0]) + (a[1] - b[1]) * (a[1] - b[1]) + (a[2] - b[2]) * (a[2] - b[2]);
}

// The pixels that fall into one cell.
struct Cell {
  double count = 0;
  Colour mean{};
};

// Cells that share one palette colour, and how much is lost by that: the squared error along the axis that loses most.
struct Box {
  std::vector<Cell>::iterator begin, end;
  Colour mean{};
  size_t axis = 0;
  double loss = 0;

  Box(std::vector<Cell>::iterator begin, std::vector<Cell>::iterator end) : begin(begin), end(end) {
    std::array<double, 3> sum{}, squares{};
    double count = 0;
    for (auto it = begin; it != end; ++it) {
      count += it->count;
      for (size_t c = 0; c < 3; ++c) {
        sum[c] += it->count * it->mean[c];
        squares[c] += it->count * it->mean[c] * it->mean[c];
      }
    }
    for (size_t c = 0; c < 3; ++c) {
      mean[c] = static_cast<float>(sum[c] / count);
      const double error = squares[c] - sum[c] * sum[c] / count;
      if (end - begin > 1 && error > loss) loss = error, axis = c;
    }
  }
};

// Every cell that a pixel falls into.
std::vector<Cell> count_cells(const at::Tensor& frames) {
  struct Sum {
    int64_t count = 0, r = 0, g = 0, b = 0;
  };
  std::vector<Sum> sums(size_t{1} << 3 * bits);
  const auto* rgb = frames.const_data_ptr<uint8_t>();
  for (const auto* end = rgb + frames.numel(); rgb != end; rgb += 3) {
    auto& sum = sums[cell(rgb[0], rgb[1], rgb[2])];
    ++sum.count, sum.r += rgb[0], sum.g += rgb[1], sum.b += rgb[2];
  }
  std::vector<Cell> cells;
  for (const auto& sum : sums) {
    if (sum.count == 0) continue;
    const auto count = static_cast<double>(sum.count);
    const auto mean = [&](int64_t channel) { return static_cast<float>(static_cast<double>(channel) / count); };
    cells.push_back({count, {mean(sum.r), mean(sum.g), mean(sum.b)}});
  }
  return cells;
}

// Halves the box that loses most, across its worst axis at its mean, until the palette is full or nothing is lost.
std::vector<Colour> choose(std::vector<Cell>& cells) {
  std::vector<Box> boxes{Box(cells.begin(), cells.end())};
  while (boxes.size() < max_colours) {
    auto& worst = *std::ranges::max_element(boxes, {}, &Box::loss);
    if (worst.loss < 1e-3) break;
    const auto middle =
        std::partition(worst.begin, worst.end,
                       [axis = worst.axis, at = worst.mean[worst.axis]](const Cell& c) { return c.mean[axis] < at; });
    if (middle == worst.begin || middle == worst.end) {  // the cells differ by less than a float holds
      worst.loss = 0;
      continue;
    }
    const Box upper(middle, worst.end);
    worst = Box(worst.begin, middle);
    boxes.push_back(upper);
  }
  std::vector<Colour> colours;
  for (const auto& box : boxes) {
    Colour colour = box.mean;
    for (auto& channel : colour) channel = std::round(channel);
    colours.push_back(colour);
  }
  return colours;
}

int16_t nearest_of(const std::vector<Colour>& colours, const Colour& colour) {
  const auto best = std::ranges::min_element(colours, {}, [&](const Colour& c) { return distance(c, colour); });
  return static_cast<int16_t>(best - colours.begin());
}

// An 8 x 8 Bayer matrix: thresholds in (-0.5, 0.5), neighbours far apart. The pattern stands still, so that parts of
// the picture which do not move stay equal, and cost nothing in a GIF.
float bayer(int64_t x, int64_t y) {
  int64_t value = 0;
  for (int bit = 0; bit < 3; ++bit) value = value * 4 + ((((x ^ y) >> bit) & 1) * 2 + ((y >> bit) & 1));
  return (static_cast<float>(value) + 0.5F) / 64 - 0.5F;
}

}  // namespace

Palette::Palette(const at::Tensor& frames) : nearest_(size_t{1} << 3 * bits, -1) {
  auto cells = count_cells(frames);
  colours_ = choose(cells);
  argb_.fill(0xFF000000U);
  argb_.back() = 0;
  for (size_t i = 0; i < colours_.size(); ++i) {
    const auto channel = [&](size_t c) { return static_cast<uint32_t>(colours_[i][c]); };
    argb_[i] |= channel(0) << 16 | channel(1) << 8 | channel(2);
  }

  double error = 0, count = 0;
  for (const auto& c : cells) {
    const auto best = nearest_of(colours_, c.mean);
    nearest_[cell(static_cast<int>(c.mean[0]), static_cast<int>(c.mean[1]), static_cast<int>(c.mean[2]))] = best;
    error += c.count * distance(colours_[static_cast<size_t>(best)], c.mean);
    count += c.count;
  }
  // As wide as the typical distance between a colour and its palette entry; a video of few colours stays exact.
  dither_ = static_cast<float>(2 * std::sqrt(error / count / 3));
}

void Palette::map_row(const uint8_t* rgb, uint8_t* indices, int64_t width, int64_t y) {
  std::array<int, 8> offset;
  for (size_t x = 0; x < offset.size(); ++x)
    offset[x] = static_cast<int>(std::lround(dither_ * bayer(static_cast<int64_t>(x), y)));
  for (int64_t x = 0; x < width; ++x, rgb += 3) {
    const auto moved = [add = offset[static_cast<size_t>(x % 8)]](uint8_t v) { return std::clamp(v + add, 0, 255); };
    const int r = moved(rgb[0]), g = moved(rgb[1]), b = moved(rgb[2]);
    auto& nearest = nearest_[cell(r, g, b)];
    if (nearest < 0) nearest = nearest_of(colours_, middle(r, g, b));  // dither led to a cell that holds no pixel
    indices[x] = static_cast<uint8_t>(nearest);
  }
}

}  // namespace eav
