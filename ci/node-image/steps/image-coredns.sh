give "$DEP_coredns" coredns
mkdir "$OUT/certs"; cp /etc/ssl/certs/ca-certificates.crt "$OUT/certs/"
printf 'FROM scratch\nCOPY certs /etc/ssl/certs/\nCOPY coredns /coredns\nENTRYPOINT ["/coredns"]\n' | image "$I_coredns"
