/* The convolution as its formula reads:
   z[n,oc,h,w] = b[oc] + sum over c, i, j of x[n,c,h*sh+i-pt,w*sw+j-pl] * k[oc,c,i,j].
   REAL is float or double. A dense layer is the case of one pixel and a 1x1 kernel. */

void convolution(const REAL *x, const REAL *k, const REAL *b, REAL *z, const int *g)
{
    int n = g[0], c = g[1], h = g[2], w = g[3], oc = g[4], oh = g[5], ow = g[6];
    int kh = g[7], kw = g[8], sh = g[9], sw = g[10], pt = g[11], pl = g[12];

    for (int s = 0; s < n; s++)
        for (int o = 0; o < oc; o++)
            for (int y = 0; y < oh; y++)
                for (int v = 0; v < ow; v++) {
                    REAL sum = b[o];
                    for (int d = 0; d < c; d++)
                        for (int i = 0; i < kh; i++)
                            for (int j = 0; j < kw; j++) {
                                int row = y * sh + i - pt, col = v * sw + j - pl;
                                if (row >= 0 && row < h && col >= 0 && col < w)
                                    sum += x[((s * c + d) * h + row) * w + col] * k[((o * c + d) * kh + i) * kw + j];
                            }
                    z[((s * oc + o) * oh + y) * ow + v] = sum;
                }
}
