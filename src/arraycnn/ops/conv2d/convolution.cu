// Convolution as products of matrices that are never made: tiles of the columns of im2col are found
// in the image while they are copied to shared memory. Axes as in ops/generic.py.
#include "tiles.cuh"

// A window on an array of images is an operand of a product. Its indices are
//   a pixel, (n, i, j), of `rows` x `columns` an image, and
//   a place in the window, (p, q, c), of `tall` x `wide` and all channels:
//
//   windows((n, i, j), (p, q, c)) = data[n, top + down i + TURN p, left + right j + TURN q, c],
//
// 0 outside of the image.
template <typename T>
struct Images {
    const T* data;
    const T* gate;
    int images, height, width, channels;
    int rows, columns, tall, wide;
    int top, left, down, right;

    // How far in memory (row, column) of image n is from the first number.
    DEVICE long long offset(long long n, long long row, long long column) const {
        return ((n * height + row) * width + column) * channels;
    }
    DEVICE bool inside(bool in_sum, int row, int column) const {
        return in_sum & (unsigned)row < (unsigned)height & (unsigned)column < (unsigned)width;
    }
};

// Of a row or column of the product: what it reads with k = 0, and where that is in an image.
template <typename T>
struct Corner {
    const T* data;
    int row, column;
};

// k runs over the places. ALONG_K, WIDTH numbers of a pixel's channels are copied at once.
template <typename T, int TURN>
struct Windows : Images<T> {
    using Images<T>::channels, Images<T>::tall, Images<T>::wide, Images<T>::width;

    DEVICE Corner<T> outer(long long first, int offset) const {
        const Digits pixel = digits(first, offset, this->rows, this->columns);
        const int row = this->top + this->down * pixel.middle;
        const int column = this->left + this->right * pixel.low;
        // Of a pixel that there is not, no place is in the image.
        return {computed(this->data + this->offset(pixel.high, row, column)),
                pixel.high < this->images ? row : TURN < 0 ? -1 : -tall, column};
    }
    DEVICE Digits k(long long index) const { return digits(index, wide, channels); }
    DEVICE Digits step(int count) const { return k(count); }
    DEVICE void advance(Digits& k, const Digits& step) const {
        advance_digits(k, step, wide, channels);
    }
    DEVICE bool holds(const Corner<T>& outer, const Digits& k, bool in_sum) const {
        return this->inside(in_sum, outer.row + TURN * k.high,
                            outer.column + TURN * k.middle);
    }
    DEVICE const T* number(const Corner<T>& outer, const Digits& k) const {
        // Unsigned, for k past the sum may exceed 31 bits.
        const unsigned pixel = (unsigned)k.high * width + k.middle;
        return moved(outer.data, (long long)sizeof(T) * (TURN * (int)(pixel * channels) + k.low));
    }
};

// k runs over the pixels.
template <typename T>
struct PixelsOfPlaces : Images<T> {
    using Images<T>::rows, Images<T>::columns, Images<T>::down, Images<T>::right;

    struct K {
        int row, column;
        long long bytes;  // from where it is 0
    };

    DEVICE Corner<T> outer(long long first, int offset) const {
        const Digits place = digits((unsigned)first + offset, this->wide, this->channels);
        const int row = this->top + place.high, column = this->left + place.middle;
        // A place that there is not may be in the image, too: nobody stores what comes of it.
        return {computed(this->data + this->offset(0, row, column) + place.low), row, column};
    }
    DEVICE K k(long long index) const {
        const Digits pixel = digits(index, rows, columns);
        return {pixel.middle, pixel.low, bytes(pixel.high, pixel.middle, pixel.low)};
    }
    DEVICE long long bytes(long long n, long long i, long long j) const {
        return (long long)sizeof(T) * this->offset(n, down * i, right * j);
    }
    DEVICE K step(int count) const { return k(count); }
    DEVICE void advance(K& k, const K& step) const {
        const long long to_next_row = bytes(0, 1, -columns), to_next_image = bytes(1, -rows, 0);
        k.row += step.row;
        k.column += step.column;
        k.bytes += step.bytes;
        if (k.column >= columns) { k.column -= columns; ++k.row; k.bytes += to_next_row; }
        if (k.row >= rows) { k.row -= rows; k.bytes += to_next_image; }
    }
    DEVICE bool holds(const Corner<T>& outer, const K& k, bool in_sum) const {
        return this->inside(in_sum, outer.row + down * k.row,
                            outer.column + right * k.column);
    }
    DEVICE const T* number(const Corner<T>& outer, const K& k) const {
        return moved(outer.data, k.bytes);
    }
};

#define SIZE_PARAMETERS                                                                         \
    long long images, long long height, long long width, long long channels,                    \
        long long out_height, long long out_width, long long filters, long long tall,           \
        long long wide, long long down, long long right, long long top, long long left,         \
        long long per_split
#define SIZE_ARGUMENTS                                                                          \
    images, height, width, channels, out_height, out_width, filters, tall, wide, down, right,   \
        top, left, per_split

// y[n, oh, ow, f] = sum over kh, kw, c of x[n, oh down + kh - top, ow right + kw - left, c]
//                                         weight[kh, kw, c, f] + bias[f],
// of N OH OW pixels times KH KW C places.
template <typename Math, typename FormX, typename FormWeight,
          typename Epilogue = BiasRelu<typename Math::Number>, typename Y = typename Math::Number,
          typename T = typename Math::Number, typename X = StoredOf<Math, FormX>,
          typename Weight = StoredOf<Math, FormWeight>>
__global__ void __launch_bounds__(Math::THREADS, 1)
conv2d(const X* x, const Weight* weight, Y* y, T* /* no sums */, SIZE_PARAMETERS,
       Epilogue epilogue) {
    const Windows<X, 1> windows{{
        x, nullptr, (int)images, (int)height, (int)width, (int)channels, (int)out_height,
        (int)out_width, (int)tall, (int)wide, -(int)top, -(int)left, (int)down, (int)right}};
    const Block at = block_of_grid();
    const long long pixels = images * out_height * out_width, places = tall * wide * channels;
    const long long first = at.y * per_split;
    const long long last = first + per_split < places ? first + per_split : places;
    const Matrix<Weight, false> right_side{weight, nullptr, filters, places};
    const Rows<Y> target{y + at.y * pixels * filters, pixels, filters};
    tile_product<Math, FormX, FormWeight>(at, windows, right_side, target, epilogue, first, last,
                                          nullptr);
}

// dweight[kh, kw, c, f] = sum over n, oh, ow of x[n, oh down + kh - top, ow right + kw - left, c]
//                                               dy[n, oh, ow, f],
// and dbias[f], the sum of dy: KH KW C places times N OH OW pixels.
template <typename Math, typename FormX, typename FormDy, typename Epilogue>
DEVICE void conv2d_dweight_block(const Block& at, const StoredOf<Math, FormX>* x,
                                 const StoredOf<Math, FormDy>* dy,
                                 const StoredOf<Math, FormDy>* gate, Number<Math>* dweight,
                                 Number<Math>* dbias, SIZE_PARAMETERS, const Epilogue& epilogue) {
    using X = StoredOf<Math, FormX>;
    using Dy = StoredOf<Math, FormDy>;
    const PixelsOfPlaces<X> windows{{
        x, nullptr, (int)images, (int)height, (int)width, (int)channels, (int)out_height,
        (int)out_width, (int)tall, (int)wide, -(int)top, -(int)left, (int)down, (int)right}};
    const long long pixels = images * out_height * out_width, places = tall * wide * channels;
    const long long first = at.y * per_split;
    const long long last = first + per_split < pixels ? first + per_split : pixels;
    const Matrix<Dy, false> gradient{dy, gate, filters, pixels};
    const Rows<Number<Math>> target{dweight + at.y * places * filters, places, filters};
    tile_product<Math, FormX, FormDy>(at, windows, gradient, target, epilogue, first, last,
                                      dbias + at.y * filters);
}

template <typename Math, typename FormX, typename FormDy,
          typename Epilogue = BiasRelu<typename Math::Number>, typename T = typename Math::Number,
          typename X = StoredOf<Math, FormX>, typename Dy = StoredOf<Math, FormDy>>
__global__ void __launch_bounds__(Math::THREADS, 1)
conv2d_dweight(const X* x, const Dy* dy, const Dy* gate, T* dweight, T* dbias, SIZE_PARAMETERS,
               Epilogue epilogue) {
    conv2d_dweight_block<Math, FormX, FormDy>(block_of_grid(), x, dy, gate, dweight, dbias,
                                              SIZE_ARGUMENTS, epilogue);
}

// The weights of a phase, as an operand (channel, k), where k is (p, q, f):
// weight[first_row + down p, first_column + right q, c, f].
template <typename T>
struct PhaseWeights {
    const T* data;
    const T* gate;
    int full_width, channels, filters;
    int tall, wide, first_row, first_column, down, right;

    DEVICE Line<T> outer(long long first, int offset) const {
        const long long channel = first + offset;
        return {computed(data + channel * filters), channel < channels};
    }
    DEVICE Digits k(long long index) const { return digits(index, wide, filters); }
    DEVICE Digits step(int count) const { return k(count); }
    DEVICE void advance(Digits& k, const Digits& step) const {
        advance_digits(k, step, wide, filters);
    }
    DEVICE bool holds(const Line<T>& channel, const Digits& k, bool in_sum) const {
        return channel.exists & in_sum;
    }
    DEVICE const T* number(const Line<T>& channel, const Digits& k) const {
        const unsigned row = first_row + down * k.high, column = first_column + right * k.middle;
        return channel.data + ((int)((row * full_width + column) * (channels * filters)) + k.low);
    }
};

// Where a phase's pixels, (n, i, j) of `tall` x `wide` an image, are in dx:
// dx[n, top + down i, left + right j, :].
template <typename T>
struct PhasePixels {
    T* data;
    long long rows, columns;
    long long height, width;
    int tall, wide, top, left, down, right;

    DEVICE long long line(long long first, int offset) const {
        const Digits pixel = digits(first, offset, tall, wide);
        const int h = top + down * pixel.middle, w = left + right * pixel.low;
        return first + offset < rows ? (pixel.high * height + h) * width + w : -1;
    }
};

// The phase of one axis of dx. A row h of x meets, with row kh of the window, row oh of dy, where
// h + pad = oh stride + kh. So the rows with the same phase = (h + pad) % stride meet the same rows
// of the window, kh = phase + stride p, and i = (h + pad) / stride counts both:  oh = i - p.
struct Phase {
    int first;   // the smallest i of a row of x
    int count;   // how many
    int start;   // the row h of `first`
    int places;  // how many p there are

    DEVICE Phase(int phase, int size, int kernel, int stride, int pad) {
        first = phase >= pad ? 0 : (pad - phase + stride - 1) / stride;
        count = (size + pad - phase + stride - 1) / stride - first;
        start = first * stride + phase - pad;
        places = phase < kernel ? (kernel - phase + stride - 1) / stride : 0;
    }
};

// dx[n, h, w, c] = sum of dy[n, oh, ow, f] weight[kh, kw, c, f] over f and all oh down + kh = h + top,
// ow right + kw = w + left. Blocks z are the phases: in each, strides no longer matter, and the
// pixels of dx times places and filters are a product of windows on dy.
template <typename Math, typename FormDy, typename FormWeight, typename Epilogue, typename Dx>
DEVICE void conv2d_dx_block(const Block& at, const StoredOf<Math, FormDy>* dy,
                            const StoredOf<Math, FormWeight>* weight,
                            const StoredOf<Math, FormDy>* gate, Dx* dx,
                            Number<Math>* /* no sums */, SIZE_PARAMETERS, const Epilogue& epilogue) {
    using Dy = StoredOf<Math, FormDy>;
    using Weight = StoredOf<Math, FormWeight>;
    const int row_phase = at.z / (int)right, column_phase = at.z % (int)right;
    const Phase rows(row_phase, (int)height, (int)tall, (int)down, (int)top);
    const Phase columns(column_phase, (int)width, (int)wide, (int)right, (int)left);
    const Windows<Dy, -1> windows{{
        dy, gate, (int)images, (int)out_height, (int)out_width, (int)filters, rows.count,
        columns.count, rows.places, columns.places, rows.first, columns.first, 1, 1}};
    const PhaseWeights<Weight> weights{weight, nullptr, (int)wide, (int)channels, (int)filters,
                                  rows.places, columns.places, row_phase, column_phase,
                                  (int)down, (int)right};
    const PhasePixels<Dx> target{
        dx + at.y * images * height * width * channels,
        images * rows.count * columns.count, channels, height, width, rows.count, columns.count,
        rows.start, columns.start, (int)down, (int)right};
    const long long places = (long long)rows.places * columns.places * filters;
    const long long first = at.y * per_split;
    const long long last = first + per_split < places ? first + per_split : places;
    tile_product<Math, FormDy, FormWeight>(at, windows, weights, target, epilogue, first, last,
                                           nullptr);
}

template <typename Math, typename FormDy, typename FormWeight,
          typename Epilogue = BiasRelu<typename Math::Number>, typename Dx = typename Math::Number,
          typename T = typename Math::Number, typename Dy = StoredOf<Math, FormDy>,
          typename Weight = StoredOf<Math, FormWeight>>
__global__ void __launch_bounds__(Math::THREADS, 1)
conv2d_dx(const Dy* dy, const Weight* weight, const Dy* gate, Dx* dx, T* sums, SIZE_PARAMETERS,
          Epilogue epilogue) {
    conv2d_dx_block<Math, FormDy, FormWeight>(block_of_grid(), dy, weight, gate, dx, sums,
                                              SIZE_ARGUMENTS, epilogue);
}
