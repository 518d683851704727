#include "eav/video.h"

extern "C" {
#include <libavutil/display.h>
}

#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>

#include <cstdlib>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "video/ffmpeg.h"
#include "video/input.h"
#include "video/webp.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

// Turns and mirrors frames [H, W, 3] as a 3x3 matrix of FFmpeg says, in quarter turns.
at::Tensor upright(at::Tensor frame, const int32_t* matrix) {
  if (matrix == nullptr) return frame;
  const int32_t a = matrix[0], b = matrix[1], c = matrix[3], d = matrix[4];  // x' = a x + c y, y' = b x + d y
  const bool swaps = std::abs(b) > std::abs(a);
  if (swaps) frame = frame.transpose(0, 1);
  std::vector<int64_t> mirrored;
  if ((swaps ? b : d) < 0) mirrored.push_back(0);
  if ((swaps ? c : a) < 0) mirrored.push_back(1);
  return mirrored.empty() ? frame : frame.flip(mirrored);
}

}  // namespace

// Converts the frames of one file to RGB.
class ToRgb {
 public:
  explicit ToRgb(const fs::path& file) : file_(file) {}

  at::Tensor operator()(const AVFrame& frame) {
    const auto format = static_cast<AVPixelFormat>(frame.format);
    scaler_.reset(sws_getCachedContext(scaler_.release(), frame.width, frame.height, format, frame.width, frame.height,
                                       AV_PIX_FMT_RGB24, SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT, nullptr,
                                       nullptr, nullptr));
    if (!scaler_) throw Error(fmt::format("'{}': its pixel format cannot be converted to RGB", file_.string()));
    const int* matrix =
        sws_getCoefficients(frame.colorspace == AVCOL_SPC_UNSPECIFIED ? SWS_CS_DEFAULT : frame.colorspace);
    const bool full = frame.color_range == AVCOL_RANGE_JPEG;
    sws_setColorspaceDetails(scaler_.get(), matrix, full, sws_getCoefficients(SWS_CS_DEFAULT), 1, 0, 1 << 16, 1 << 16);
    // Rows are padded, since FFmpeg's kernels write whole vectors.
    const int64_t stride = (int64_t{frame.width} * 3 + 63) / 64 * 64;
    const auto rows = at::empty({frame.height, stride}, at::kByte);
    uint8_t* const planes[] = {rows.data_ptr<uint8_t>()};
    const int strides[] = {static_cast<int>(stride)};
    sws_scale(scaler_.get(), frame.data, frame.linesize, 0, frame.height, planes, strides);
    return rows.narrow(1, 0, int64_t{frame.width} * 3).unflatten(1, {frame.width, 3});
  }

 private:
  const fs::path& file_;
  ffmpeg::Scaler scaler_;
};

struct VideoReader::State {
  explicit State(const fs::path& path) : file(path), convert(file), packet(av_packet_alloc()), frame(av_frame_alloc()) {
    if (!packet || !frame) throw std::bad_alloc();
    if (const auto webp = read_webp(file)) {
      if (!webp->defined()) throw unreadable(file);
      picture = *webp;
      return;
    }
    try {
      input = std::make_unique<ffmpeg::InputFile>(file, ffmpeg::kMediaFormats);
    } catch (const Error&) {
      throw unreadable(file);
    }
    const AVCodec* codec = nullptr;
    if (input->find_stream_info() < 0) throw unreadable(file);
    index = av_find_best_stream(input->get(), AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    if (index < 0 || codec == nullptr) throw unreadable(file);
    const auto* stream = (*input)->streams[index];
    const int64_t width = stream->codecpar->width, height = stream->codecpar->height;
    if (height > 0 && width > ffmpeg::kMostPixels / height)
      throw Error(fmt::format("'{}' is {}x{}, more than 2^28 pixels a frame", file.string(), width, height));
    decoder = ffmpeg::open_decoder(*stream, *codec, unreadable(file));
    matrix = reinterpret_cast<const int32_t*>(av_stream_get_side_data(stream, AV_PKT_DATA_DISPLAYMATRIX, nullptr));
  }

  static Error unreadable(const fs::path& file) {
    return Error(fmt::format(
        "'{}' is no picture or video that can be read: expected PNG, JPEG, WebP, GIF, BMP, TIFF, PPM, .mp4, "
        ".mov, .mkv, .webm, .avi, .ts or .y4m, of at most 2^28 pixels a frame",
        file.string()));
  }

  Error broken() const {
    if (count == 0) return unreadable(file);
    return Error(fmt::format("'{}' is damaged: frame {} cannot be decoded", file.string(), count));
  }

  // Gives the decoder the next packet of the video, or tells it that there is none left.
  void send() {
    const int result = av_read_frame(input->get(), packet.get());
    if (result < 0 && result != AVERROR_EOF) throw broken();
    const bool ended = result < 0;
    if ((ended || packet->stream_index == index) &&
        avcodec_send_packet(decoder.get(), ended ? nullptr : packet.get()) < 0)
      throw broken();
    av_packet_unref(packet.get());
  }

  const fs::path file;
  at::Tensor picture;  // of a file that FFmpeg does not read
  std::unique_ptr<ffmpeg::InputFile> input;
  ffmpeg::Encoder decoder;
  const int32_t* matrix = nullptr;  // how the file wants to be turned
  ToRgb convert;
  ffmpeg::Packet packet;
  ffmpeg::Frame frame;
  int index = -1;
  int64_t count = 0;
  std::vector<int64_t> size;  // of its first frame
};

VideoReader::VideoReader(const fs::path& file) {
  const ffmpeg::Quiet quiet;
  state_ = std::make_unique<State>(file);
}

VideoReader::~VideoReader() = default;

at::Tensor VideoReader::next() {
  auto& s = *state_;
  if (!s.input) return std::exchange(s.picture, {});
  const ffmpeg::Quiet quiet;
  int result = 0;
  while ((result = avcodec_receive_frame(s.decoder.get(), s.frame.get())) == AVERROR(EAGAIN)) s.send();
  if (result == AVERROR_EOF && s.count > 0) return {};
  if (result < 0 || s.frame->decode_error_flags != 0) throw s.broken();
  const auto* side = av_frame_get_side_data(s.frame.get(), AV_FRAME_DATA_DISPLAYMATRIX);
  auto frame = upright(s.convert(*s.frame), side != nullptr ? reinterpret_cast<const int32_t*>(side->data) : s.matrix);
  if (s.count == 0) s.size = frame.sizes().vec();
  if (frame.sizes() != s.size) throw Error(fmt::format("'{}': its frames differ in size", s.file.string()));
  ++s.count;
  return frame;
}

at::Tensor read_frames(const fs::path& file, int64_t most) {
  VideoReader reader(file);
  std::vector<at::Tensor> frames;
  while (most == 0 || std::ssize(frames) < most) {
    auto frame = reader.next();
    if (!frame.defined()) break;
    frames.push_back(std::move(frame));
  }
  return at::stack(frames);
}

}  // namespace eav
