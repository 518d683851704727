#include "eav/video.h"

extern "C" {
#include <libavutil/display.h>
}

#include <cstdlib>
#include <vector>

#include "video/ffmpeg.h"

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

}  // namespace

at::Tensor read_frames(const fs::path& file, int64_t most) {
  if (!fs::exists(file)) throw Error(fmt::format("'{}': there is no such file", file.string()));
  if (fs::is_directory(file)) throw Error(fmt::format("'{}' is a folder, expected a picture or video", file.string()));
  const ffmpeg::Quiet quiet;
  const auto unreadable = [&] {
    return Error(fmt::format("'{}' is no picture or video that FFmpeg can read", file.string()));
  };

  AVFormatContext* opened = nullptr;
  if (avformat_open_input(&opened, ffmpeg::url(file).c_str(), nullptr, nullptr) < 0) throw unreadable();
  const ffmpeg::Input input(opened);
  const AVCodec* codec = nullptr;
  if (avformat_find_stream_info(input.get(), nullptr) < 0) throw unreadable();
  const int index = av_find_best_stream(input.get(), AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
  if (index < 0 || codec == nullptr) throw unreadable();
  const auto* stream = input->streams[index];
  const ffmpeg::Encoder decoder(avcodec_alloc_context3(codec));
  if (!decoder) throw std::bad_alloc();
  decoder->thread_count = 0;
  if (avcodec_parameters_to_context(decoder.get(), stream->codecpar) < 0 ||
      avcodec_open2(decoder.get(), codec, nullptr) < 0)
    throw unreadable();
  const auto* stream_matrix =
      reinterpret_cast<const int32_t*>(av_stream_get_side_data(stream, AV_PKT_DATA_DISPLAYMATRIX, nullptr));

  ToRgb convert(file);
  std::vector<at::Tensor> frames;
  const ffmpeg::Packet packet(av_packet_alloc());
  const ffmpeg::Frame frame(av_frame_alloc());
  if (!packet || !frame) throw std::bad_alloc();
  const auto full = [&] { return most > 0 && static_cast<int64_t>(frames.size()) >= most; };
  const auto broken = [&] {
    if (frames.empty()) return unreadable();
    return Error(fmt::format("'{}' is damaged: frame {} cannot be decoded", file.string(), frames.size()));
  };
  const auto receive = [&] {
    while (!full()) {
      const int result = avcodec_receive_frame(decoder.get(), frame.get());
      if (result == AVERROR(EAGAIN) || result == AVERROR_EOF) return;
      if (result < 0 || frame->decode_error_flags != 0) throw broken();
      const auto* side = av_frame_get_side_data(frame.get(), AV_FRAME_DATA_DISPLAYMATRIX);
      const auto* matrix = side != nullptr ? reinterpret_cast<const int32_t*>(side->data) : stream_matrix;
      frames.push_back(upright(convert(*frame), matrix));
      if (frames.back().sizes() != frames[0].sizes())
        throw Error(fmt::format("'{}': its frames differ in size", file.string()));
    }
  };
  while (!full()) {
    const int result = av_read_frame(input.get(), packet.get());
    if (result < 0 && result != AVERROR_EOF) throw broken();
    const bool ended = result < 0;
    if (ended || packet->stream_index == index) {
      if (avcodec_send_packet(decoder.get(), ended ? nullptr : packet.get()) < 0) throw broken();
      receive();
    }
    av_packet_unref(packet.get());
    if (ended) break;
  }
  if (frames.empty()) throw unreadable();
  return at::stack(frames);
}

}  // namespace eav
